"""The chart of ranks that change during a run, by client and round."""

from collections.abc import Sequence

from polyrank.record.lines import ProfileLine
from polyrank.record.outcome import mean
from polyrank.record.schema import RanksByModule
from polyrank.report.charts import HEAT, names_axis, plain_label, round_axis, sorted_by
from polyrank.report.client_sheet import modules_of
from polyrank.report.parts import Cell, CsvData, Figure, Part, Trace
from polyrank.report.reading import Run

ROW = 18  # CSS pixels that a client takes
SHORTEST, TALLEST = 260, 720  # CSS pixels of the chart
FEW = 30  # cells side by side; more than this touch
Chosen = Sequence[tuple[int, RanksByModule]]  # from which round on, which ranks


def rank_history(run: Run, ordered: Sequence[ProfileLine]) -> list[Part]:
    """Return the chart of each client's mean rank by round, or nothing where no rank changed.

    The download holds every module's rank, in the rounds in which a client's ranks changed.
    """
    chosen = {p.client: _chosen(run, p) for p in ordered}
    if all(len(steps) < 2 for steps in chosen.values()):
        return []
    last = max(run.rounds[-1].round if run.rounds else 1, *(s[-1][0] for s in chosen.values()))
    rounds, names = list(range(1, last + 1)), list(chosen)
    means = [_by_round(steps, last) for steps in chosen.values()]
    trace: Trace = {
        "type": "heatmap",
        "x": rounds,
        "y": [plain_label(name) for name in names],
        "z": means,
        "xgap": 1 if last <= FEW else 0,
        "ygap": 1 if len(names) <= FEW else 0,
        "zmin": 0,
        "zmax": max(1.0, *(max(row) for row in means)),
        "colorscale": HEAT,
        "colorbar": {"title": {"text": "mean rank"}},
        "hovertemplate": "client %{y}<br>round %{x}<br>mean rank %{z:.4~r}<extra></extra>",
    }
    layout: Trace = {
        "xaxis": round_axis(last),
        "yaxis": names_axis(names, sorted_by(len(names), "highest score first"))
        | {"autorange": "reversed"},
        "hovermode": "closest",
    }
    caption = (
        "Each row is a client: the mean over its modules of the ranks it trained with in a round;"
        " the download has every module, where a client's ranks changed."
    )
    height = min(TALLEST, max(SHORTEST, 130 + ROW * len(names)))
    return [
        Figure(
            "rank-history",
            "Rank by client and round",
            caption,
            [trace],
            layout,
            _data(chosen, modules_of(run, ordered)),
            wide=True,
            height=height,
        )
    ]


def _chosen(run: Run, profile: ProfileLine) -> Chosen:
    """Return a client's ranks at the start and after each change."""
    changed = [(c.round, c.ranks) for c in run.changes if c.client == profile.client]
    return [(1, profile.ranks), *changed]


def _by_round(steps: Chosen, last: int) -> list[float]:
    """Return a client's mean rank in each round."""
    means = {number: mean(list(of.values())) if of else 0.0 for number, of in steps}
    found, now = [], 0.0
    for number in range(1, last + 1):
        now = round(means.get(number, now), 3)
        found.append(now)
    return found


def _data(chosen: dict[str, Chosen], modules: Sequence[str]) -> CsvData:
    rows: list[list[Cell]] = [
        [client, number, *(of.get(module) for module in modules)]
        for client, steps in chosen.items()
        for number, of in steps
    ]
    return CsvData(["client", "from round", *(f"rank of {name}" for name in modules)], rows)
