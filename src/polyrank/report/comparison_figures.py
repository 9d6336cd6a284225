"""Charts of several runs on the same axes, one colour an arm."""

from collections.abc import Sequence
from statistics import fmean

from polyrank.report.arms import Arm
from polyrank.report.charts import ROUND_AXIS, SYMBOLS, colour, line, plain_label
from polyrank.report.headline import headline
from polyrank.report.parts import Cell, CsvData, Figure, Part, Trace
from polyrank.report.reading import Run
from polyrank.report.words import readable, size
from polyrank.report.yardstick import Yardstick, value_of, yardstick


def compared_curve(
    runs: Sequence[Run],
    names: Sequence[str],
    arms: Sequence[Arm],
    metric: str,
    axis: Trace,
    hover: str,
) -> list[Part]:
    """Return the chart of one metric by round, or nothing while it is not measured."""
    lines = [_lines(arm, index, metric, hover) for index, arm in enumerate(arms)]
    traces = [trace for of_arm in lines if any(t["y"] for t in of_arm) for trace in of_arm]
    rows = [
        [name, record.round, value_of(record, metric)]
        for run, name in zip(runs, names, strict=True)
        for record in run.rounds
        if value_of(record, metric) is not None
    ]
    if not rows:
        return []
    part = "test" if any(record.test for run in runs for record in run.rounds) else "validation"
    caption = (
        f"{readable(metric)} on {part} data after each round; where an arm has several seeds,"
        " thin lines are its runs and the thick line is their mean."
    )
    layout: Trace = {"xaxis": ROUND_AXIS, "yaxis": axis, "showlegend": True}
    data = CsvData(["run", "round", metric], rows)
    title = f"{readable(metric)} by round"
    return [Figure(f"{metric}-compared", title, caption, traces, layout, data, height=380)]


def _lines(arm: Arm, index: int, metric: str, value: str) -> list[Trace]:
    curves = [
        {r.round: v for r in run.rounds if (v := value_of(r, metric)) is not None}
        for run in arm.seeds
    ]
    group: Trace = {"legendgroup": str(index)}
    shared = sorted(set.intersection(*(set(curve) for curve in curves)))
    mean = line(arm.name, shared, [fmean(c[x] for c in curves) for x in shared], index, value)
    if len(curves) == 1:
        return [mean | group]
    thin: Trace = {"mode": "lines", "opacity": 0.4, "showlegend": False, "hoverinfo": "skip"}
    seeds = [line(arm.name, list(c), list(c.values()), index, value) | thin for c in curves]
    for seed in seeds:
        seed["line"] = seed["line"] | {"width": 1}
        del seed["hovertemplate"]
    return [trace | group for trace in [*seeds, mean]]


def price(
    runs: Sequence[Run], names: Sequence[str], arms: Sequence[Arm], judged: Yardstick
) -> list[Part]:
    """Return the chart of final accuracy, or perplexity, against bytes, if any is known."""
    called = {id(run): name for run, name in zip(runs, names, strict=True)}
    rows: list[list[Cell]] = []
    traces: list[Trace] = []
    for index, arm in enumerate(arms):
        got = [(called[id(r)], headline(r)) for r in arm.runs if yardstick(r) is judged]
        points = [(name, h.bytes_up + h.bytes_down, h.final) for name, h in got]
        points = [point for point in points if point[2] is not None]
        rows += [list(point) for point in points]
        if points:
            traces.append(_points(arm.name, points, index, judged.hover))
    if not rows:
        return []
    layout: Trace = {
        "xaxis": {"title": {"text": "bytes sent, up and down"}, "rangemode": "tozero"}
        | {"ticksuffix": "B", "tickformat": "~s"},
        "yaxis": {key: value for key, value in judged.axis.items() if key == "tickformat"},
        "hovermode": "closest",
    }
    where = "low" if judged.falls else "high"
    caption = f"What each run reached against what it sent: {where} and left is better."
    data = CsvData(["run", "bytes", judged.metric], rows)
    title = f"Final {judged.metric} against bytes"
    key = "price-perplexity" if judged.falls else "price"
    return [Figure(key, title, caption, traces, layout, data, wide=True, height=380)]


def _points(
    arm: str, points: Sequence[tuple[str, int, float | None]], index: int, hover: str
) -> Trace:
    return {
        "type": "scatter",
        "mode": "markers",
        "name": plain_label(arm),
        "x": [point[1] for point in points],
        "y": [point[2] for point in points],
        "text": [f"{plain_label(name)}: {size(spent)}" for name, spent, _ in points],
        "marker": {"color": colour(index), "symbol": SYMBOLS[index % len(SYMBOLS)], "size": 12},
        "hovertemplate": f"%{{text}}, %{{y:{hover}}}<extra></extra>",
    }
