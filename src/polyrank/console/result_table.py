"""What a finished run prints: how good, at what cost, and who got which rank; 80 columns."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from rich.console import Console
from rich.filesize import decimal
from rich.table import Table
from rich.text import Text

from polyrank.allocators import spread_note
from polyrank.console.need_table import EXPLAINED, curves_table, need_rows
from polyrank.console.rank_reason import short_reasons
from polyrank.judging import Judged, judged_by, perplexity_text
from polyrank.plain import one_line
from polyrank.record.lines import ClientLine, FinalLine, ProfileLine, UpdateLine
from polyrank.record.outcome import mean
from polyrank.record.run_folder import RunFolder
from polyrank.record.schema import Metrics
from polyrank.record.sent import last_sent, least_share, percent_held
from polyrank.record.summary import Summary

SHOWN = 20


def render(folder: Path, console: Console) -> None:
    """Print the clients' table, the outcome, and where everything is, of a finished run."""
    run = RunFolder(folder)
    summary = run.read_summary()
    lines = run.read_clients()
    title, table = _clients(lines, summary)
    console.print(Text(title, style="italic"))
    console.print(table)
    sent = last_sent(lines)
    if why := _why([line for line in lines if isinstance(line, ProfileLine)], by_need=bool(sent)):
        console.print(Text(why))
    if sent and (curves := curves_table(run.read_rounds(), summary)):
        console.print(curves)
    outcome = Table(box=None, show_header=False, pad_edge=False)
    for name, value in _outcome(summary, sent):
        outcome.add_row(name, Text(one_line(value)))
    console.print(outcome)
    if note := spread_note(1.0 if summary.rank_spread is None else summary.rank_spread):
        console.print(Text(note))
    console.print(Text(f"run folder: {folder}\nreport: {folder / 'report.html'}"), soft_wrap=True)


def _clients(lines: Sequence[ClientLine], summary: Summary) -> tuple[str, Table]:
    finals = {line.client: line for line in lines if isinstance(line, FinalLine)}
    profiles = [line for line in lines if isinstance(line, ProfileLine)]
    modules = list(profiles[0].ranks) if profiles else []
    shown = modules if len(modules) <= 4 else []
    several = len(summary.label_names) > 1  # texts for a language model may have none
    sent = last_sent(lines)
    title = _title(len(profiles), summary.judged if finals else None, by_need=bool(sent))
    # a classifier's head is new: it knew nothing before
    before = ["before"] if summary.judged == "perplexity" else []
    columns = [
        "client",
        "examples",
        *(["labels"] if several else []),
        "score",
        *([one_line(m) for m in shown] or ["mean rank"]),
        "holds",
        *before,
        *("global", "own"),
        "why",
    ]
    rows: list[list[str]] = []
    whys = _whys(profiles, by_need=bool(sent))
    for profile, why in zip(profiles[:SHOWN], whys, strict=False):
        final, update = finals.get(profile.client), sent.get(profile.client)
        ranks = ((update.ranks if update else {}) if sent else profile.ranks) or {}
        judged = [final.before] * len(before) + [final.shared, final.personal] if final else []
        row = [
            one_line(profile.client),
            str(profile.examples.train) if profile.examples else "",
            *([_labels(profile.label_counts)] if several else []),
            "" if profile.score is None else f"{profile.score:.3f}",
            *(
                [str(ranks.get(m, "")) for m in shown]
                or [f"{mean(list(ranks.values())):.1f}" if ranks else ""]
            ),
            percent_held(least_share(update)) if update else "",
            *(_judged(metrics) for metrics in judged or [None] * (len(before) + 2)),
            one_line(why),
        ]
        rows.append(row)
    return title, _table(columns, rows)


def _labels(counts: Sequence[int]) -> str:
    """Say how many labels a client has, if it has told."""
    return str(sum(count > 0 for count in counts)) if counts else ""


def _table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> Table:
    """Make a table of the columns that hold anything in any row."""
    table = Table(box=None, pad_edge=False)
    kept = [k for k in range(len(columns)) if any(row[k] for row in rows)]
    for k in kept:
        left = k == 0 or columns[k] == "why"
        table.add_column(Text(columns[k]), justify="left" if left else "right", overflow="fold")
    for row in rows:
        table.add_row(*(Text(row[k]) for k in kept))
    return table


def _whys(profiles: Sequence[ProfileLine], *, by_need: bool) -> list[str]:
    """Return why each client got its rank; nothing where that is the same for all."""
    whys = short_reasons(profiles)
    scored = any(profile.contributions for profile in profiles)
    return whys if len(set(whys)) > 1 and (scored or not by_need) else [""] * len(whys)


def _why(profiles: Sequence[ProfileLine], *, by_need: bool) -> str:
    """Return what stands below the table: what its last column means, or the reason of all."""
    if by_need:
        return EXPLAINED
    whys = set(short_reasons(profiles))
    if len(whys) == 1:
        return f"why: {only}" if (only := one_line(whys.pop())) else ""
    if any(profile.contributions for profile in profiles):
        return "why: the criterion that raised (+) or lowered (-) it most, and what held it"
    return ""


def _title(clients: int, judged: Judged | None, *, by_need: bool) -> str:
    more = f"; the first {SHOWN} of {clients}" if clients > SHOWN else ""
    rows = f"; {judged} on the client's own test rows" if judged else ""
    return f"Ranks {'sent ' if by_need else ''}by module{rows}{more}"


def _judged(metrics: Metrics | None) -> str:
    if not metrics:
        return ""
    value = metrics[judged_by(metrics)]
    if value is None or judged_by(metrics) == "perplexity":
        return _number(value, "perplexity")
    return f"{value:.3f}"


def _only_personal(summary: Summary) -> bool:
    """Whether the clients' own models were judged and the global one was not."""
    return summary.worst_client is None and summary.personal is not None


def _outcome(summary: Summary, by_need: Mapping[str, UpdateLine]) -> list[tuple[str, str]]:
    sent = summary.bytes
    rows = [_personal(summary)] if _only_personal(summary) else _of_the_global_model(summary)
    if by_need:
        rows += need_rows(by_need, summary)
    else:
        rows.append(("mean rank", f"{summary.mean_rank or 0:.2f} ({summary.allocator})"))
    rows.append(("sent", f"{decimal(sent.up)} up, {decimal(sent.down)} down"))
    if summary.refused or summary.failed:
        rows.append(("lost", f"{summary.refused} refused, {summary.failed} failed updates"))
    return rows


def _personal(summary: Summary) -> tuple[str, str]:
    own = _number(summary.personal.mean if summary.personal else None, summary.judged)
    return f"own {summary.judged}", f"{own}, mean over clients; the global model is not judged"


def _of_the_global_model(summary: Summary) -> list[tuple[str, str]]:
    name, worst, ended = summary.judged, summary.worst_client, summary.ended
    rows: list[tuple[str, str]] = [(name, _number(ended.final, name))]
    if ended.best is None and ended.best_round is not None:
        rows[0] = (name, f"round {ended.best_round} is the best on validation; no test rows")
    if ended.best is not None:
        rows[0] = (
            name,
            f"{_number(ended.final, name)} at the end, {_number(ended.best, name)} "
            f"in round {ended.best_round}, the best on validation",
        )
    if name == "accuracy":
        rows.append(("macro-F1", _number(summary.macro_f1.final)))
    if worst:
        rows.append(("worst client", f"{_number(worst.final, name)} (client {worst.client})"))
    return rows


def _number(value: float | None, judged: Judged = "accuracy") -> str:
    if value is None:
        return "none"
    return f"{value:.4f}" if judged == "accuracy" else perplexity_text(value)
