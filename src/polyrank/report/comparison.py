"""Several runs side by side: a table, curves on the same axes, accuracy against bytes.

Runs that differ only in their seed are one arm: one colour, and a mean with its spread. A seed
that was run twice counts once.
"""

from collections.abc import Sequence
from statistics import fmean, stdev

from polyrank.report.arms import Arm
from polyrank.report.comparison_figures import compared_curve, price
from polyrank.report.headline import Headline, headline
from polyrank.report.parts import Cell, Column, Part, Section, Sheet, Trace
from polyrank.report.reading import Run
from polyrank.report.words import NOTHING, percent, plural, size
from polyrank.report.yardstick import ACCURACY, PERPLEXITY, Yardstick, yardstick

OWN_ROWS = ("Global model on clients' own rows", "Personal adapters on these")


def comparison(runs: Sequence[Run], names: Sequence[str], arms: Sequence[Arm]) -> Section:
    """Build the section that compares ``runs``, called ``names``, of these ``arms``."""
    judged = _yardsticks(runs)
    parts: list[Part] = [_runs(runs, names, judged)]
    if len(arms) < len(runs):
        parts.insert(0, _arms(arms, judged))
    for one in judged:
        parts += compared_curve(runs, names, arms, one.metric, one.axis, one.hover)
    falling: Trace = {"rangemode": "tozero"} if ACCURACY in judged else {}
    parts += compared_curve(runs, names, arms, "loss", falling, ".3f")
    for one in judged:
        parts += price(runs, names, arms, one)
    lead = _lead(runs, names, judged) + _repeated(arms)
    return Section("comparison", "How do the runs compare?", lead, parts)


def _yardsticks(runs: Sequence[Run]) -> list[Yardstick]:
    """Return how any of the runs is judged."""
    return [one for one in (ACCURACY, PERPLEXITY) if any(yardstick(run) is one for run in runs)]


def _lead(runs: Sequence[Run], names: Sequence[str], judged: Sequence[Yardstick]) -> str:
    got = [(headline(run), name) for run, name in zip(runs, names, strict=True)]
    of = [[pair for pair in got if pair[0].judged is one] for one in judged]
    said = "; ".join(_range(one, some) for one, some in zip(judged, of, strict=True))
    return f"{plural(len(runs), 'run')}: {said}."


def _repeated(arms: Sequence[Arm]) -> str:
    again = sum(len(arm.runs) - len(arm.seeds) for arm in arms)
    if not again:
        return ""
    said = f" {plural(again, 'run repeats', 'runs repeat')} the settings and the seed of another"
    return f"{said}; a seed counts once."


def _range(judged: Yardstick, got: Sequence[tuple[Headline, str]]) -> str:
    known = [(numbers.final, name) for numbers, name in got if numbers.final is not None]
    if not known:
        return f"no {judged.metric} of a global model has been measured"
    (low, last), (high, first) = min(known), max(known)
    if low == high:
        same = "" if len(known) == 1 else "the same "
        return f"{same}final {judged.metric} {judged.show(high)}"
    lowest, highest = f"{judged.show(low)} ({last})", f"{judged.show(high)} ({first})"
    return f"final {judged.metric} from {lowest} to {highest}"


def _columns(judged: Sequence[Yardstick]) -> list[Column]:
    titles = {
        ACCURACY: ["Accuracy", "Macro-F1", "Balanced accuracy", "Worst client", *OWN_ROWS],
        PERPLEXITY: [
            "Perplexity",
            "Worst client's perplexity",
            *(f"{title}, perplexity" for title in OWN_ROWS),
        ],
    }
    return [Column(title, one.show) for one in judged for title in titles[one]]


def _cells(got: Headline, judged: Sequence[Yardstick]) -> list[float | None]:
    """Return what ``_columns`` asks for, empty where the run is judged by something else."""
    own_rows = [got.shared, got.personal]
    of_accuracy = [got.final, got.macro_f1, got.balanced_accuracy, got.worst, *own_rows]
    cells = {ACCURACY: of_accuracy, PERPLEXITY: [got.final, got.worst, *own_rows]}
    return [c if got.judged is one else None for one in judged for c in cells[one]]


def _runs(runs: Sequence[Run], names: Sequence[str], judged: Sequence[Yardstick]) -> Sheet:
    titles = ["Run", "Allocator", "Aggregator", "Seed", "Rounds"]
    columns = [Column(title) for title in titles] + _columns(judged)
    columns += [Column("Sent up", size), Column("Sent down", size), Column("Mean rank")]
    rows = [_row(run, name, judged) for run, name in zip(runs, names, strict=True)]
    return Sheet("runs", "Every run: how it was made, what it reached, what it cost", columns, rows)


def _row(run: Run, name: str, judged: Sequence[Yardstick]) -> list[Cell]:
    ended, got = run.summary, headline(run)
    return [
        name if ended else f"{name} (unfinished)",
        ended.allocator if ended else None,
        ended.aggregator if ended else None,
        ended.seed if ended else None,
        got.rounds,
        *_cells(got, judged),
        *(got.bytes_up, got.bytes_down, got.mean_rank),
    ]


def _arms(arms: Sequence[Arm], judged: Sequence[Yardstick]) -> Sheet:
    columns = _columns(judged)
    shown = [at for at, column in enumerate(columns) if column.title != "Balanced accuracy"]
    rows: list[list[Cell]] = []
    for arm in arms:
        got = [headline(run) for run in arm.seeds]
        cells = [_cells(numbers, judged) for numbers in got]
        spread = [_spread([c[at] for c in cells], columns[at]) for at in shown]
        spent = fmean(h.bytes_up + h.bytes_down for h in got)
        rows.append([arm.name, len(got), *spread, size(spent)])
    caption = "Every arm: mean over its seeds, ± the standard deviation between them"
    titles = ["Arm", "Seeds", *(columns[at].title for at in shown), "Bytes up and down"]
    return Sheet("arms", caption, [Column(title) for title in titles], rows)


def _spread(values: Sequence[float | None], column: Column) -> str:
    known = [value for value in values if value is not None]
    if not known:
        return NOTHING
    mean = column.show(fmean(known))
    if len(known) == 1:
        return mean
    spread = f"{100 * stdev(known):.1f}" if column.show is percent else column.show(stdev(known))
    return f"{mean} ± {spread}"
