"""Charts of ranks, of what made up the scores, and of the weights of the criteria."""

from collections.abc import Sequence

from polyrank.record.lines import ProfileLine
from polyrank.report.charts import (
    HEAT,
    MANY_CLIENTS,
    bar,
    gap,
    modules_axis,
    names_axis,
    plain_label,
    sorted_by,
)
from polyrank.report.client_sheet import modules_of
from polyrank.report.parts import Cell, CsvData, Figure, Part, Trace
from polyrank.report.reading import Run
from polyrank.report.words import readable

TALLEST = 560  # CSS pixels, of a heat map of modules


def mean_rank(run: Run, profile: ProfileLine) -> float:
    """Return a client's mean rank over its modules; 0 without any."""
    values = run.ranks_of(profile).values()
    return sum(values) / len(values) if values else 0.0


def rank_bars(run: Run, ordered: Sequence[ProfileLine]) -> Figure:
    """Return the chart of every client's mean rank and cap."""
    names = [profile.client for profile in ordered]
    x = [plain_label(name) for name in names]
    after = [mean_rank(run, profile) for profile in ordered]
    before = [sum(p.ranks.values()) / len(p.ranks) if p.ranks else None for p in ordered]
    caps = [profile.cap for profile in ordered]
    trained = "trained" if before == after else "began and ended"
    traces = [bar("Rank", x, after, 0)]
    if before != after:
        traces.append(_marks("Rank at the start", x, before, "diamond-open", 1))
    if any(cap is not None for cap in caps):
        traces.append(_marks("Largest rank the client allows", x, caps, "line-ew-open", 5))
    return Figure(
        "ranks",
        "Rank by client",
        f"The rank each client {trained} with, as the mean over its modules, highest score first.",
        traces,
        _axes(names, "rank") | {"bargap": gap(len(names))},
        CsvData(
            ["client", "mean rank", "mean rank at the start", "cap"],
            list(zip(names, after, before, caps, strict=True)),
        ),
        wide=True,
    )


def _axes(names: Sequence[str], values: str) -> Trace:
    return {
        "xaxis": names_axis(names, sorted_by(len(names), "highest score first")),
        "yaxis": {"title": {"text": values}, "rangemode": "tozero"},
    }


def _marks(
    name: str, x: Sequence[str], y: Sequence[float | None], symbol: str, index: int
) -> Trace:
    marker = {
        "symbol": symbol,
        "size": 3 if len(x) > MANY_CLIENTS else 11,
        "color": f"@c{index}",
        "line": {"width": 2},
    }
    return {
        "type": "scatter",
        "mode": "markers",
        "name": name,
        "x": list(x),
        "y": list(y),
        "marker": marker,
        "hovertemplate": "%{y:.4~r}",
    }


def contributions(ordered: Sequence[ProfileLine]) -> list[Part]:
    """Return the chart of what moved the scores (``polyrank.mcda.balance``), or nothing."""
    pulls = {p.client: p.contributions for p in ordered if p.contributions}
    if not pulls:
        return []
    scored = [profile for profile in ordered if profile.client in pulls]
    names = list(pulls)
    x = [plain_label(name) for name in names]
    criteria = list(dict.fromkeys(name for of in pulls.values() for name in of))
    columns = [[of.get(name) for of in pulls.values()] for name in criteria]
    traces = [
        bar(readable(name), x, y, index) | {"hovertemplate": "%{y:.3f}"}
        for index, (name, y) in enumerate(zip(criteria, columns, strict=True))
    ]
    rows = [[name, scored[i].score, *(y[i] for y in columns)] for i, name in enumerate(names)]
    return [
        Figure(
            "contributions",
            "What moved each score",
            "How far each criterion pulls a client towards the best values seen (up) or the worst "
            "(down); more up than down is a score above one half.",
            traces,
            _axes(names, "pull") | {"barmode": "relative", "bargap": gap(len(names))},
            CsvData(["client", "score", *criteria], rows),
            wide=True,
            folded=True,
        )
    ]


def criterion_weights(run: Run) -> list[Part]:
    """Return the chart of the criteria's weights, or nothing without any."""
    known = run.summary.criterion_weights if run.summary else {}
    weights = sorted((weight or 0.0, name) for name, weight in known.items())
    if not weights:
        return []
    trace = bar("Weight", [readable(name) for _, name in weights], [w for w, _ in weights], 0)
    trace |= {"orientation": "h", "x": trace["y"], "y": trace["x"], "hovertemplate": "%{x:.1%}"}
    layout: Trace = {
        "xaxis": {"tickformat": ".0%", "rangemode": "tozero"},
        "yaxis": {"type": "category", "automargin": True},
        "bargap": 0.25,
    }
    return [
        Figure(
            "weights",
            "Weight of each criterion",
            "How much each criterion counts in the score; together they make 100 %.",
            [trace],
            layout,
            CsvData(
                ["criterion", "weight"], [[name, weight] for weight, name in reversed(weights)]
            ),
            height=max(200, 90 + 30 * len(weights)),
            wide=True,
            folded=True,
        )
    ]


def module_ranks(run: Run, ordered: Sequence[ProfileLine]) -> list[Part]:
    """Return the heat map of ranks by module, or nothing where modules do not differ."""
    modules = modules_of(run, ordered)
    if all(len(set(run.ranks_of(profile).values())) < 2 for profile in ordered):
        return []
    names = [profile.client for profile in ordered]
    z = [[run.ranks_of(profile).get(module, 0) for profile in ordered] for module in modules]
    trace: Trace = {
        "type": "heatmap",
        "x": [plain_label(name) for name in names],
        "y": [plain_label(module) for module in modules],
        "z": z,
        "zmin": 0,
        "zmax": max(1, *(max(row) for row in z)),
        "colorscale": HEAT,
        "colorbar": {"title": {"text": "rank"}},
        "hovertemplate": "client %{x}<br>%{y}<br>rank %{z}<extra></extra>",
    }
    layout = _axes(names, "") | {
        "yaxis": modules_axis(modules),
        "hovermode": "closest",
    }
    rows: list[list[Cell]] = [
        [name, module, z[row][column]]
        for column, name in enumerate(names)
        for row, module in enumerate(modules)
    ]
    caption = "The rank of every adapted module (rows) on every client (columns); 0 is none."
    data = CsvData(["client", "module", "rank"], rows)
    height = min(TALLEST, 170 + 26 * len(modules))
    title = "Rank by module"
    return [Figure("modules", title, caption, [trace], layout, data, wide=True, height=height)]
