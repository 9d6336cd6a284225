"""Charts of accuracy, or perplexity, and loss by round, and of the first by client."""

import math
from collections.abc import Sequence
from dataclasses import replace

from polyrank.record.lines import FinalLine, RoundLine
from polyrank.record.schema import Metrics
from polyrank.report.charts import (
    MANY_CLIENTS,
    line,
    names_axis,
    plain_label,
    round_axis,
    sorted_by,
)
from polyrank.report.parts import CsvData, Figure, Part, Trace
from polyrank.report.reading import Run
from polyrank.report.yardstick import PERPLEXITY, Yardstick, yardstick

Series = tuple[str, str, str]  # its name, "validation" or "test", the metric
ACCURACIES: Sequence[Series] = (
    ("Test accuracy", "test", "accuracy"),
    ("Validation accuracy", "validation", "accuracy"),
    ("Test macro-F1", "test", "macro_f1"),
    ("Test balanced accuracy", "test", "balanced_accuracy"),
)
PERPLEXITIES: Sequence[Series] = (
    ("Test perplexity", "test", "perplexity"),
    ("Validation perplexity", "validation", "perplexity"),
)
LOSS: Sequence[Series] = (
    ("Test loss", "test", "loss"),
    ("Validation loss", "validation", "loss"),
    ("Training loss", "train", "loss"),
)
SHOWN_AT_ONCE = 2  # lines of a chart, test and validation
KINDS = (  # which models a client's rows are judged by: field, in the table, in the legend
    ("shared", "global", "Global adapter"),
    ("personal", "personal", "Personal adapter"),
    ("before", "before", "Before training"),
)


def curves(run: Run) -> list[Part]:
    """Return the charts by round, as far as anything was measured."""
    judged = yardstick(run)
    series, what = ACCURACIES, "Share of examples classified correctly"
    if judged is PERPLEXITY:
        series, what = PERPLEXITIES, "Exp of the mean loss of a token, lower is better,"
    head = (
        judged.metric,
        f"{judged.title} by round",
        f"{what} after each round; round 0 is {start_of(run).rstrip(',')}.",
    )
    loss = "Cross-entropy after each round, lower is better; training loss is the clients' mean."
    # a language model's loss stays far from 0, and what training does to it is small beside that
    falling: Trace = {"yaxis": {} if judged is PERPLEXITY else {"rangemode": "tozero"}}
    return [
        *_curve(run, head, series, {"yaxis": judged.axis}, judged.hover),
        *(
            replace(figure, folded=True)
            for figure in _curve(run, ("loss", "Loss by round", loss), LOSS, falling, ".3f")
        ),
    ]


def start_of(run: Run) -> str:
    """Say what the model was in round 0: a head may have been made from the clients' data."""
    made = run.summary.head_init if run.summary else "none"
    return "before training" + ("" if made == "none" else f", with its head made ({made}),")


def _curve(
    run: Run, head: tuple[str, str, str], series: Sequence[Series], axes: Trace, hover: str
) -> list[Figure]:
    x = [record.round for record in run.rounds]
    known = [(name, [_value(r, part, metric) for r in run.rounds]) for name, part, metric in series]
    known = [(name, y) for name, y in known if any(value is not None for value in y)]
    if not known:
        return []
    traces = [line(name, x, y, index, hover) for index, (name, y) in enumerate(known)]
    for trace in traces[SHOWN_AT_ONCE:]:
        trace["visible"] = "legendonly"  # a click on its name shows it
    data = CsvData(
        ["round", *(name for name, _ in known)],
        [[number, *(y[i] for _, y in known)] for i, number in enumerate(x)],
    )
    layout = axes | {"xaxis": round_axis(x[-1]), "hovermode": "x unified"}
    return [Figure(*head, traces, layout, data, wide=True)]


def _value(record: RoundLine, part: str, metric: str) -> float | None:
    if part == "train":
        return record.train_loss
    metrics = record.test if part == "test" else record.validation
    return metrics.get(metric) if metrics else None


def by_client(finals: Sequence[FinalLine], judged: Yardstick) -> list[Part]:
    """Return the chart of accuracy or perplexity by client, or nothing while not measured.

    What the base made of a client's data is shown of language models; a classifier's head is
    new, and the base says nothing with it.
    """
    metric = judged.metric
    kinds = KINDS if judged is PERPLEXITY else KINDS[:2]
    sign = -1 if judged.falls else 1
    found = [(f.client, [_of(getattr(f, field), metric) for field, *_ in kinds]) for f in finals]
    rows = sorted(
        ((name, own) for name, own in found if any(value is not None for value in own)),
        key=lambda row: -math.inf if row[1][0] is None else sign * row[1][0],
    )
    if not rows:
        return []
    names = [name for name, _ in rows]
    traces = [
        _dots(title, names, [own[place] for _, own in rows], place, judged.hover)
        for place, (_, _, title) in enumerate(kinds)
    ]
    axis = names_axis(names, sorted_by(len(names), "worst first"))
    caption = (
        f"{judged.title} on each client's own test data, with the adapter all share"
        " and with the one the client holds after its last training."
    )
    return [
        Figure(
            f"client-{metric}",
            f"{judged.title} by client",
            caption,
            [trace for trace in traces if any(y is not None for y in trace["y"])],
            {"xaxis": axis, "yaxis": judged.axis},
            CsvData(
                ["client", *(f"{kind} {metric}" for _, kind, _ in kinds)],
                [[name, *own] for name, own in rows],
            ),
            wide=True,
        )
    ]


def _of(metrics: Metrics | None, name: str) -> float | None:
    return metrics.get(name) if metrics else None


def _dots(
    name: str, clients: Sequence[str], y: Sequence[float | None], index: int, hover: str
) -> Trace:
    return line(name, [], y, index) | {
        "mode": "markers",
        "x": [plain_label(client) for client in clients],
        "marker": {
            "color": f"@c{index}",
            "symbol": ("circle", "diamond-open", "x-thin-open")[index],
            "size": 5 if len(clients) > MANY_CLIENTS else 9,
        },
        "hovertemplate": f"%{{x}}: %{{y:{hover}}}",
    }
