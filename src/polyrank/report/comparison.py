"""Several runs side by side: a table, curves on the same axes, accuracy against bytes.

Runs that differ only in their seed are one arm: one colour, and a mean with its spread. A seed
that was run twice counts once.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean, stdev

from polyrank.report.ahead import ahead, is_control
from polyrank.report.arms import Arm
from polyrank.report.comparison_figures import by_bytes, clients_compared, compared_curve, price
from polyrank.report.headline import Headline, headline
from polyrank.report.paired import differences
from polyrank.report.parts import Cell, Column, Marked, Part, Section, Sheet, Trace
from polyrank.report.reading import Run
from polyrank.report.target import to_target, usual_target
from polyrank.report.words import NOTHING, percent, plural, size
from polyrank.report.yardstick import ACCURACY, PERPLEXITY, Yardstick, yardstick

OWN_ROWS = ("Global model, own rows", "Personal adapters, own rows")


BASE = "frozen base"


@dataclass(frozen=True)
class Asked:
    """What a comparison shows beside its runs.

    Args:
        target: of the validation rows, for rounds and bytes until it; None for 0.95 of what the
            first arm comes to.
        parts: shown below the tables.
    """

    target: float | None = None
    parts: Sequence[Part] = ()


def comparison(
    runs: Sequence[Run], names: Sequence[str], arms: Sequence[Arm], asked: Asked | None = None
) -> Section:
    """Build the section that compares ``runs``, called ``names``, of these ``arms``."""
    judged = _yardsticks(runs)
    called = {id(run): name for run, name in zip(runs, names, strict=True)}
    federations = [run for run in runs if not is_control(run, runs)]
    shared = [arm for arm in arms if not is_control(arm.seeds[0], runs)]
    parts = _tables(runs, names, arms, judged, means=len(arms) < len(runs) or asked is not None)
    asked = asked or Asked()
    if len(judged) == 1 and (target := asked.target or usual_target(arms[0])):
        parts += to_target(shared, target, judged[0])
    parts += asked.parts
    for one in judged:
        parts += compared_curve(runs, names, arms, one.metric, one.axis, one.hover)
    falling: Trace = {"rangemode": "tozero"} if ACCURACY in judged else {}
    parts += compared_curve(runs, names, arms, "loss", falling, ".3f")
    for one in judged:
        parts += clients_compared(arms, one)
        parts += by_bytes(shared, arms, one)
        parts += price(federations, [called[id(run)] for run in federations], arms, one)
    lead = " ".join(text for one in judged if (text := ahead(arms, runs, one)))
    lead = (lead or _lead(runs, names, judged)) + _repeated(arms)
    return Section("comparison", "How do the runs compare?", lead, parts)


def _tables(
    runs: Sequence[Run],
    names: Sequence[str],
    arms: Sequence[Arm],
    judged: Sequence[Yardstick],
    *,
    means: bool,
) -> list[Part]:
    """Return the tables of the arms, if their means are wanted, and of the runs."""
    each = _runs(runs, names, judged, single=not means)
    if not means:
        return [each]
    return [_arms(arms, runs, judged), *differences(arms, arms[0], judged), each]


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


def _runs(
    runs: Sequence[Run], names: Sequence[str], judged: Sequence[Yardstick], *, single: bool
) -> Sheet:
    """Return a row for each run; ``single`` ones of their arms are compared with the first."""
    titles = ["Run", "Allocator", "Aggregator", "Seed", "Rounds"]
    compared = _columns(judged)
    columns = [Column(title) for title in titles] + compared
    columns += [Column("Sent up", size), Column("Sent down", size), Column("Mean rank")]
    rows = [_row(run, name, judged) for run, name in zip(runs, names, strict=True)]
    caption = "Every run: how it was made, what it reached, what it cost"
    if single and len(runs) > 1:
        caption += f"; then the difference to {names[0]}, and in bold the best federation"
        for at, column in enumerate(compared, len(titles)):
            values = [
                cell if isinstance(cell, float) else None for row in rows for cell in [row[at]]
            ]
            for row, cell in zip(rows, _marked(values, values, column, runs, runs), strict=True):
                row[at] = cell
    return Sheet("runs", caption, columns, rows).differing


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


def _arms(arms: Sequence[Arm], runs: Sequence[Run], judged: Sequence[Yardstick]) -> Sheet:
    """Return a row for each arm: means, what they differ by from the first arm, and the best."""
    columns = _columns(judged)
    shown = [at for at, column in enumerate(columns) if column.title != "Balanced accuracy"]
    cells = [[_cells(headline(run), judged) for run in arm.seeds] for arm in arms]
    marked = [
        _spread_column([[c[at] for c in of] for of in cells], columns[at], arms, runs)
        for at in shown
    ]
    rows: list[list[Cell]] = []
    for place, arm in enumerate(arms):
        got = [headline(run) for run in arm.seeds]
        spent = fmean(h.bytes_up + h.bytes_down for h in got)
        rows.append([arm.name, len(got), *(column[place] for column in marked), size(spent)])
    rows += _base(arms[0], [columns[at] for at in shown])
    caption = (
        "Every arm: mean over its seeds, ± the standard deviation between them; then the "
        f"difference to {arms[0].name}, and in bold the best federation"
    )
    titles = ["Arm", "Seeds", *(columns[at].title for at in shown), "Bytes up and down"]
    return Sheet("arms", caption, [Column(title) for title in titles], rows)


def _base(first: Arm, columns: Sequence[Column]) -> list[list[Cell]]:
    """Return the row of the model before training, the control that every run has."""
    got = [headline(run) for run in first.seeds]
    title, known = got[0].judged.title, [h.before for h in got if h.before is not None]
    if not known:
        return []
    told = [_spread(known if column.title == title else (), column) for column in columns]
    return [[BASE, len(known), *told, NOTHING]]


def _spread_column(
    values: Sequence[Sequence[float | None]],
    column: Column,
    arms: Sequence[Arm],
    runs: Sequence[Run],
) -> list[Cell]:
    """Return a column of the arms' table: means with their spreads, compared."""
    known = [[value for value in of if value is not None] for of in values]
    means = [fmean(of) if of else None for of in known]
    told = [_spread(of, column) for of in values]
    return _marked(told, means, column, [arm.seeds[0] for arm in arms], runs)


def _marked(
    cells: Sequence[str | float | None],
    means: Sequence[float | None],
    column: Column,
    shown: Sequence[Run],
    runs: Sequence[Run],
) -> list[Cell]:
    """Return cells with their differences to the first, the best federation's marked.

    Args:
        cells: of a column.
        means: the numbers that they stand for.
        column: which says what is better.
        shown: a run of each row.
        runs: all that are compared.
    """
    yard = ACCURACY if column.show is percent else PERPLEXITY
    rivals = [
        mean
        for mean, run in zip(means, shown, strict=True)
        if mean is not None and not is_control(run, runs)
    ]
    best = (min if yard.falls else max)(rivals) if len(rivals) > 1 else None
    first, marked = means[0], []
    for place, (cell, mean) in enumerate(zip(cells, means, strict=True)):
        known = place > 0 and mean is not None and first is not None
        note = yard.difference((mean or 0.0) - (first or 0.0)) if known else ""
        marked.append(Marked(cell, note, best=mean is not None and mean == best))
    return [*marked]


def _spread(values: Sequence[float | None], column: Column) -> str:
    known = [value for value in values if value is not None]
    if not known:
        return NOTHING
    mean = column.show(fmean(known))
    if len(known) == 1:
        return mean
    spread = f"{100 * stdev(known):.1f}" if column.show is percent else column.show(stdev(known))
    return f"{mean} ± {spread}"
