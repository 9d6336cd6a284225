"""What a set of runs prints: every arm's mean over its seeds; 80 columns."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean, stdev

from rich.console import Console
from rich.filesize import decimal
from rich.table import Table
from rich.text import Text

from polyrank.judging import Judged, perplexity_text
from polyrank.plain import one_line
from polyrank.record.run_folder import RunFolder
from polyrank.record.summary import Summary


def render_set(arms: Mapping[str, Sequence[Path]], console: Console) -> None:
    """Print a row for every arm: what its models came to, and what it sent.

    Args:
        arms: name -> the folders of its runs, one a seed.
        console: to print to.
    """
    summaries = {arm: [RunFolder(p).read_summary() for p in of] for arm, of in arms.items()}
    judged = next(iter(summaries.values()))[0].judged
    table = Table(box=None, pad_edge=False)
    for name in ("arm", "seeds", judged, "worst client", "own models", "bytes"):
        table.add_column(Text(name), justify="left" if name == "arm" else "right")
    for arm, runs in summaries.items():
        table.add_row(Text(one_line(arm)), str(len(runs)), *map(Text, _cells(runs, judged)))
    console.print(table)
    if len(next(iter(summaries.values()))) > 1:
        console.print(Text("mean ± standard deviation over the seeds"))


def _cells(runs: Sequence[Summary], judged: Judged) -> list[str]:
    finals = [run.ended.final for run in runs]
    worst = [run.worst_client.final if run.worst_client else None for run in runs]
    own = [run.personal.mean if run.personal else None for run in runs]
    return [
        *(_spread(values, judged) for values in (finals, worst, own)),
        decimal(round(fmean(run.bytes.total for run in runs))),
    ]


def _spread(values: Sequence[float | None], judged: Judged) -> str:
    known = [value for value in values if value is not None]
    if not known:
        return ""
    spread = stdev(known) if len(known) > 1 else None
    if judged == "perplexity":
        return perplexity_text(fmean(known)) + ("" if spread is None else f" ± {spread:.2g}")
    return f"{fmean(known):.3f}" + ("" if spread is None else f" ± {spread:.3f}")
