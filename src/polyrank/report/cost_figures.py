"""Charts of bytes and seconds by round."""

from collections.abc import Sequence
from itertools import accumulate

from polyrank.report.charts import MANY_ROUNDS, bar, gap, line, round_axis
from polyrank.report.parts import CsvData, Figure, Part, Trace
from polyrank.report.reading import Run
from polyrank.report.words import byte_unit, readable

PARTS = ("start", "head", "probe", "train", "aggregate", "evaluate", "save", "final")


def bytes_figure(run: Run) -> list[Part]:
    """Return the chart of bytes, or nothing where none were sent."""
    if not any(record.bytes.up or record.bytes.down for record in run.rounds):
        return []
    x = [record.round for record in run.rounds]
    up = [record.bytes.up for record in run.rounds]
    down = [record.bytes.down for record in run.rounds]
    sums = list(accumulate(up)), list(accumulate(down))
    caption = (
        "Bytes that clients sent and received in each round (above)"
        " and added up over the rounds (below); round 0 is the probe before training."
    )
    rows = list(zip(x, up, down, *sums, strict=True))
    columns = ["round", "bytes up", "bytes down", "bytes up so far", "bytes down so far"]
    return [
        Figure(
            "bytes",
            "Bytes by round",
            caption,
            [*_pair(x, (up, down), so_far=False), *_pair(x, sums, so_far=True)],
            _two_panels(_unit(up + down)[1], _unit([*sums[0], *sums[1]])[1], len(x)),
            CsvData(columns, rows),
            height=400,
        )
    ]


def _unit(counts: Sequence[int]) -> tuple[int, str]:
    return byte_unit(max(counts, default=0))


def _pair(x: Sequence[int], values: Sequence[Sequence[int]], *, so_far: bool) -> list[Trace]:
    bars = not so_far and len(x) <= MANY_ROUNDS
    factor, unit = _unit([count for series in values for count in series])
    traces = []
    for index, name in enumerate(("Up", "Down")):
        y = [count / factor for count in values[index]]
        trace = bar(name, x, y, index) if bars else line(name, x, y, index)
        if so_far:
            trace |= {"yaxis": "y2", "showlegend": False}
        traces.append(trace | {"hovertemplate": f"%{{y:.3~r}} {unit}", "legendgroup": name})
    return traces


def _two_panels(above: str, below: str, rounds: int) -> Trace:
    return {
        "barmode": "group",
        "bargap": gap(rounds),
        "hovermode": "x unified",
        "xaxis": round_axis(rounds - 1) | {"anchor": "y2"},
        "yaxis": {
            "title": {"text": f"{above} a round"},
            "domain": [0.56, 1],
            "rangemode": "tozero",
        },
        "yaxis2": {
            "title": {"text": f"{below} so far"},
            "domain": [0, 0.44],
            "rangemode": "tozero",
        },
    }


def seconds_figure(run: Run) -> list[Part]:
    """Return the chart of seconds, or nothing where none were taken."""
    named = {part for timing in run.timings for part in timing.seconds}
    parts = [part for part in PARTS if part in named] + sorted(named - set(PARTS))
    if not parts:
        return []
    x = [timing.round for timing in run.timings]
    columns = [[timing.seconds.get(part) for timing in run.timings] for part in parts]
    traces = [
        bar(readable(part), x, y, index) | {"hovertemplate": "%{y:.3~r} s"}
        for index, (part, y) in enumerate(zip(parts, columns, strict=True))
    ]
    layout: Trace = {
        "barmode": "stack",
        "bargap": gap(len(x)),
        "hovermode": "x unified",
        "xaxis": round_axis(x[-1]),
        "yaxis": {"title": {"text": "seconds"}, "rangemode": "tozero"},
    }
    rows = [[number, *(y[i] for y in columns)] for i, number in enumerate(x)]
    caption = "Seconds spent in each round on each part of the work."
    data = CsvData(["round", *(f"{part} seconds" for part in parts)], rows)
    return [Figure("seconds", "Seconds by round", caption, traces, layout, data, height=400)]
