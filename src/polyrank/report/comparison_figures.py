"""Charts of several runs on the same axes, one colour an arm."""

from collections.abc import Sequence
from itertools import accumulate
from statistics import fmean

from polyrank.report.arms import Arm
from polyrank.report.charts import (
    MANY_CLIENTS,
    SYMBOLS,
    colour,
    line,
    names_axis,
    plain_label,
    round_axis,
    sorted_by,
)
from polyrank.report.headline import headline
from polyrank.report.parts import Cell, CsvData, Figure, Part, Trace
from polyrank.report.reading import Run, natural_key
from polyrank.report.words import readable, size
from polyrank.report.yardstick import Yardstick, value_of, yardstick

ROW, TALLEST = 22, 900  # CSS pixels of the chart of clients


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
    last = max(run.rounds[-1].round for run in runs if run.rounds)
    layout: Trace = {
        "xaxis": round_axis(last),
        "yaxis": axis,
        "showlegend": True,
    }
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


def clients_compared(arms: Sequence[Arm], judged: Yardstick) -> list[Part]:
    """Return each client's dots: by the global model, by its own, and by what it reaches alone.

    The first arm with a global model of several clients is drawn, beside the first that was
    trained alone, each the mean over its seeds; without both there is nothing to compare.
    """
    fit = [arm for arm in arms if yardstick(arm.seeds[0]) is judged]
    shared = next((a for a in fit if len(a.seeds[0].finals) > 1 and not _alone(a)), None)
    alone = next((a for a in fit if _alone(a)), None)
    if shared is None or alone is None:
        return []
    series = [
        (f"{shared.name}, global model", _by_client(shared, "shared", judged)),
        (f"{shared.name}, own models", _by_client(shared, "personal", judged)),
        (alone.name, _by_client(alone, "personal", judged)),
    ]
    names = sorted(series[0][1], key=natural_key, reverse=True)
    traces = [
        {
            "type": "scatter",
            "mode": "markers",
            "name": plain_label(title),
            "x": [values.get(name) for name in names],
            "y": [plain_label(name) for name in names],
            "marker": {
                "color": colour(index),
                "symbol": ("circle", "diamond", "x")[index],
                "size": 5 if len(names) > MANY_CLIENTS else 10,
            },
            "hovertemplate": f"%{{y}}: %{{x:{judged.hover}}}",
        }
        for index, (title, values) in enumerate(series)
    ]
    layout: Trace = {
        "xaxis": {key: value for key, value in judged.axis.items() if key == "tickformat"},
        "yaxis": names_axis(names, sorted_by(len(names), "by name")) | {"showgrid": True},
        "hovermode": "closest",
    }
    rows: list[list[Cell]] = [[n, *(values.get(n) for _, values in series)] for n in names]
    data = CsvData(["client", *(title for title, _ in series)], rows)
    caption = (
        f"{judged.title} on each client's own test rows, mean over seeds: what the federation "
        "gives a client, beside what it reaches alone."
    )
    height = min(TALLEST, 150 + ROW * len(names))
    key, title = f"clients-{judged.metric}-compared", f"{judged.title} by client"
    return [Figure(key, title, caption, traces, layout, data, wide=True, height=height)]


def _alone(arm: Arm) -> bool:
    return arm.seeds[0].only_personal


def _by_client(arm: Arm, model: str, judged: Yardstick) -> dict[str, float]:
    """Return each client's mean over the seeds in which it is known."""
    found: dict[str, list[float]] = {}
    for run in arm.seeds:
        for final in run.finals:
            value = (getattr(final, model) or {}).get(judged.metric)
            if value is not None:
                found.setdefault(final.client, []).append(value)
    return {client: fmean(values) for client, values in found.items()}


def by_bytes(shown: Sequence[Arm], arms: Sequence[Arm], judged: Yardstick) -> list[Part]:
    """Return the chart of what arms have come to once they have sent so many bytes.

    Args:
        shown: the arms of federations.
        arms: all, for their colours.
        judged: what they are judged by.
    """
    traces: list[Trace] = []
    rows: list[list[Cell]] = []
    for arm in shown:
        points = _bytes_and_values(arm, judged.metric)
        if points:
            x, y = [point[0] for point in points], [point[1] for point in points]
            traces.append(line(arm.name, x, y, arms.index(arm), judged.hover))
            rows += [[arm.name, sent, value] for sent, value in points]
    if not rows:
        return []
    layout: Trace = {
        "xaxis": {"title": {"text": "bytes sent so far, up and down"}, "rangemode": "tozero"}
        | {"ticksuffix": "B", "tickformat": "~s"},
        "yaxis": {key: value for key, value in judged.axis.items() if key == "tickformat"},
        "hovermode": "closest",
        "showlegend": True,
    }
    caption = f"{judged.title} after each round against all bytes until then, means over seeds."
    data = CsvData(["arm", "bytes", judged.metric], rows)
    title = f"{judged.title} against bytes sent so far"
    key = f"{judged.metric}-by-bytes"
    return [Figure(key, title, caption, traces, layout, data, wide=True, height=380)]


def _bytes_and_values(arm: Arm, metric: str) -> list[tuple[float, float]]:
    """Return bytes so far and the metric, for each round in which all seeds were evaluated."""
    curves: list[dict[int, tuple[int, float]]] = []
    for run in arm.seeds:
        sent = accumulate(record.bytes.total for record in run.rounds)
        known = zip(run.rounds, sent, strict=True)
        curves.append({r.round: (b, v) for r, b in known if (v := value_of(r, metric)) is not None})
    shared = sorted(set.intersection(*(set(curve) for curve in curves)))
    return [
        (fmean(curve[at][0] for curve in curves), fmean(curve[at][1] for curve in curves))
        for at in shared
    ]


def price(
    runs: Sequence[Run], names: Sequence[str], arms: Sequence[Arm], judged: Yardstick
) -> list[Part]:
    """Return the chart of final accuracy, or perplexity, against bytes, if any is known."""
    called = {id(run): name for run, name in zip(runs, names, strict=True)}
    rows: list[list[Cell]] = []
    traces: list[Trace] = []
    for index, arm in enumerate(arms):
        of = [r for r in arm.runs if id(r) in called and yardstick(r) is judged]
        got = [(called[id(r)], headline(r)) for r in of]
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
    caption = (
        f"What each run reached against what it sent: {where} and left is better. Runs without a "
        "federation, clients alone and pooled data, are left out."
    )
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
