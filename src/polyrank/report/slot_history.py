"""The chart of the slots that are left, by module and round."""

from collections.abc import Iterable
from itertools import groupby
from typing import TypeAlias

from polyrank.record.lines import ProfileLine, RanksLine
from polyrank.report.charts import modules_axis, plain_label, round_axis
from polyrank.report.parts import Cell, CsvData, Figure, Part, Trace
from polyrank.report.reading import Run
from polyrank.report.words import plural

ROW = 16  # CSS pixels that a module takes
SHORTEST, TALLEST = 220, 1200  # CSS pixels of the chart
FEW = 30  # cells side by side; more than this touch
Told: TypeAlias = ProfileLine | RanksLine
Counts: TypeAlias = dict[str, int]  # module -> slots that some client owns


def slot_history(run: Run) -> list[Part]:
    """Return the chart of how many slots of each module some client owns, by round.

    Nothing where no rank changed during the run, or where all clients have the first slots of
    every module, so that ranks alone say what is left.
    """
    told: list[Told] = [*run.profiles, *run.changes]
    if not run.changes or not any(_is_no_prefix(line) for line in told):
        return []
    counted = _counted(run)
    last = max(run.rounds[-1].round if run.rounds else 1, run.changes[-1].round)
    modules = list(dict.fromkeys(module for of in counted.values() for module in of))
    z = [_by_round({n: of.get(module, 0) for n, of in counted.items()}, last) for module in modules]
    most = max(1, *(max(row) for row in z))
    gone = sum(row[-1] == 0 for row in z)
    trace: Trace = {
        "type": "heatmap",
        "x": list(range(1, last + 1)),
        "y": [plain_label(module) for module in modules],
        "z": z,
        "xgap": 1 if last <= FEW else 0,
        "ygap": 1,
        "zmin": 0,
        "zmax": most,
        "colorscale": _none_apart(most),
        "colorbar": {"title": {"text": "slots"}},
        "hovertemplate": "%{y}<br>round %{x}<br>slots left %{z}<extra></extra>",
    }
    caption = (
        "How many slots of each adapted module (rows) some client owns in a round, whether or not "
        f"it takes part; a module with none is not trained. {_share(run, gone, len(z))}"
    )
    rows: list[list[Cell]] = [
        [module, number, of.get(module, 0)] for number, of in counted.items() for module in modules
    ]
    return [
        Figure(
            "slots-left",
            "Slots left by module and round",
            caption,
            [trace],
            {"xaxis": round_axis(last), "yaxis": modules_axis(modules), "hovermode": "closest"},
            CsvData(["module", "from round", "slots that some client owns"], rows),
            wide=True,
            height=min(TALLEST, max(SHORTEST, 130 + ROW * len(modules))),
        )
    ]


def _is_no_prefix(line: Told) -> bool:
    return bool(line.ranks) and (line.slots is not None or 0 in line.ranks.values())


def _counted(run: Run) -> dict[int, Counts]:
    """Count the slots of every module at the start and after each round with changes."""
    now: dict[str, Told] = {profile.client: profile for profile in run.profiles}
    counted = {1: _owned(now.values())}
    for number, changes in groupby(run.changes, key=lambda change: change.round):
        now |= {change.client: change for change in changes}
        counted[number] = _owned(now.values())
    return counted


def _owned(lines: Iterable[Told]) -> Counts:
    first: dict[str, int] = {}  # module -> so many of the first slots are owned
    chosen: dict[str, set[int]] = {}
    for line in lines:
        for module, rank in line.ranks.items():
            numbers = (line.slots or {}).get(module)
            first[module] = max(first.get(module, 0), rank if numbers is None else 0)
            chosen.setdefault(module, set()).update(numbers or ())
    return {m: most + sum(slot >= most for slot in chosen[m]) for m, most in first.items()}


def _by_round(counts: dict[int, int], last: int) -> list[int]:
    found = [counts[1]]
    for number in range(2, last + 1):
        found.append(counts.get(number, found[-1]))
    return found


def _none_apart(most: int) -> list[list[float | str]]:
    """Return colours of 0 to ``most`` slots in which none is told from one at a glance."""
    edge = 0.5 / most
    some: list[list[float | str]] = [[edge + (1 - edge) * k / 3, f"@heat{k + 1}"] for k in range(4)]
    return [[0.0, "@heat0"], [edge, "@heat0"], *some]


def _share(run: Run, gone: int, modules: int) -> str:
    now = "At the end" if run.finished else "By now"
    return f"{now} {modules - gone} of {plural(modules, 'module')} have slots."
