"""Charts of the ranks that clients sent, where each cuts its change to the rank that it needs."""

from collections.abc import Sequence

from polyrank.record.lines import ProfileLine, UpdateLine
from polyrank.record.outcome import mean
from polyrank.record.sent import least_share, mean_sent
from polyrank.report.charts import (
    HEAT,
    modules_axis,
    names_axis,
    plain_label,
    round_axis,
    sorted_by,
)
from polyrank.report.parts import Cell, CsvData, Figure, Part, Trace
from polyrank.report.reading import Run

ROW = 18  # CSS pixels that a client or a module takes
SHORTEST, TALLEST = 220, 720  # CSS pixels of a heat map
FEW = 30  # cells side by side; more than this touch


def sent_history(run: Run, ordered: Sequence[ProfileLine]) -> list[Part]:
    """Return the heat map of the rank that each client sent, by round."""
    names = [profile.client for profile in ordered]
    sent = {(u.client, u.round): u for u in run.updates if u.ranks}
    rounds = list(range(1, max(number for _, number in sent) + 1))
    found = [[sent.get((name, number)) for number in rounds] for name in names]
    trace = _heat(
        [[None if u is None else round(mean_sent(u), 3) for u in row] for row in found],
        rounds,
        names,
        "client %{y}<br>round %{x}<br>mean rank sent %{z:.3~r}, which holds at least "
        "%{customdata:.0%} of every module's change",
    )
    trace["customdata"] = [[u and least_share(u) for u in row] for row in found]
    layout: Trace = {
        "xaxis": round_axis(rounds[-1]),
        "yaxis": names_axis(names, sorted_by(len(names), "highest rank first"))
        | {"autorange": "reversed"},
        "hovermode": "closest",
    }
    rows: list[list[Cell]] = [
        [u.client, u.round, mean_sent(u), least_share(u)] for u in run.updates if u.ranks
    ]
    return [
        Figure(
            "sent-history",
            "Rank sent, by client and round",
            "The rank of each client's change in a round, as the mean over its modules; a gap is a "
            "round in which no update of it was taken.",
            [trace],
            layout,
            CsvData(["client", "round", "mean rank sent", "least share held"], rows),
            wide=True,
            height=_height(len(names)),
        )
    ]


def sent_by_module(run: Run, ordered: Sequence[ProfileLine]) -> list[Part]:
    """Return the heat maps of ranks sent: by module and round, and by module and client."""
    updates = [u for u in run.updates if u.ranks]
    modules = list(dict.fromkeys(name for u in updates for name in u.ranks or {}))
    if len(modules) < 2:
        return []
    rounds = list(range(1, updates[-1].round + 1))
    by_round = _means(updates)
    z = [[by_round.get((module, number)) for number in rounds] for module in modules]
    hover = "%{y}<br>round %{x}<br>mean rank sent %{z:.3~r}"
    over_rounds: list[list[Cell]] = [[m, n, by_round.get((m, n))] for m in modules for n in rounds]
    last = run.sent
    names = [profile.client for profile in ordered if profile.client in last]
    ranks = [[(last[name].ranks or {}).get(module) for name in names] for module in modules]
    rows: list[list[Cell]] = [
        [name, last[name].round, module, rank, (last[name].shares or {}).get(module)]
        for name in names
        for module, rank in (last[name].ranks or {}).items()
    ]
    height, by_module = _height(len(modules)), modules_axis(modules)
    own = "client %{x}<br>%{y}<br>rank sent %{z}"
    return [
        Figure(
            "sent-modules",
            "Rank sent, by module and round",
            "The rank of the clients' changes in a round, by module, as the mean over the clients.",
            [_heat(z, rounds, modules, hover)],
            {"xaxis": round_axis(rounds[-1]), "yaxis": by_module, "hovermode": "closest"},
            CsvData(["module", "round", "mean rank sent"], over_rounds),
            wide=True,
            height=height,
        ),
        Figure(
            "sent-clients",
            "Rank sent, by module and client",
            "The rank of every module's change in each client's last update; the download has what "
            "share of the change it holds.",
            [_heat(ranks, [plain_label(name) for name in names], modules, own)],
            {
                "xaxis": names_axis(names, sorted_by(len(names), "highest rank first")),
                "yaxis": by_module,
                "hovermode": "closest",
            },
            CsvData(["client", "round", "module", "rank sent", "share held"], rows),
            wide=True,
            height=height,
        ),
    ]


def _means(updates: Sequence[UpdateLine]) -> dict[tuple[str, int], float]:
    """Return module and round -> the mean rank over the clients."""
    found: dict[tuple[str, int], list[int]] = {}
    for update in updates:
        for module, rank in (update.ranks or {}).items():
            found.setdefault((module, update.round), []).append(rank)
    return {key: round(mean(ranks), 3) for key, ranks in found.items()}


def _heat(
    z: Sequence[Sequence[float | None]],
    x: Sequence[int | str],
    y: Sequence[str],
    hover: str,
) -> Trace:
    most = max((value for row in z for value in row if value is not None), default=1)
    return {
        "type": "heatmap",
        "x": list(x),
        "y": [plain_label(name) for name in y],
        "z": z,
        "xgap": 1 if len(x) <= FEW else 0,
        "ygap": 1 if len(y) <= FEW else 0,
        "zmin": 0,
        "zmax": max(1, most),
        "hoverongaps": False,
        "colorscale": HEAT,
        "colorbar": {"title": {"text": "rank"}},
        "hovertemplate": f"{hover}<extra></extra>",
    }


def _height(rows: int) -> int:
    return min(TALLEST, max(SHORTEST, 130 + ROW * rows))
