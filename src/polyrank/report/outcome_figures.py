"""Charts of accuracy and loss by round, and of accuracy by client."""

from collections.abc import Sequence

from polyrank.report.charts import (
    MANY_CLIENTS,
    PERCENT_AXIS,
    ROUND_AXIS,
    line,
    names_axis,
    plain,
    sorted_by,
)
from polyrank.report.parts import Data, Figure, Part, Trace
from polyrank.report.records import Final, Round, Run

Series = tuple[str, str, str]  # its name, "validation" or "test", the metric
ACCURACY: Sequence[Series] = (
    ("Test accuracy", "test", "accuracy"),
    ("Validation accuracy", "validation", "accuracy"),
    ("Test macro-F1", "test", "macro_f1"),
    ("Test balanced accuracy", "test", "balanced_accuracy"),
)
LOSS: Sequence[Series] = (
    ("Training loss", "train", "loss"),
    ("Validation loss", "validation", "loss"),
    ("Test loss", "test", "loss"),
)


def curves(run: Run) -> list[Part]:
    """Return the charts by round, as far as anything was measured."""
    accuracy = (
        "Share of examples classified correctly after each round; round 0 is before training."
    )
    loss = "Cross-entropy after each round, lower is better; training loss is the clients' mean."
    percents: Trace = {"yaxis": PERCENT_AXIS}
    falling: Trace = {"yaxis": {"rangemode": "tozero"}}
    return [
        *_curve(run, ("accuracy", "Accuracy by round", accuracy), ACCURACY, percents),
        *_curve(run, ("loss", "Loss by round", loss), LOSS, falling),
    ]


def _curve(
    run: Run, head: tuple[str, str, str], series: Sequence[Series], axes: Trace
) -> list[Part]:
    x = [record.round for record in run.rounds]
    known = [(name, [_value(r, part, metric) for r in run.rounds]) for name, part, metric in series]
    known = [(name, y) for name, y in known if any(value is not None for value in y)]
    if not known:
        return []
    value = ".1%" if head[0] == "accuracy" else ".3f"
    traces = [line(name, x, y, index, value) for index, (name, y) in enumerate(known)]
    data = Data(
        ["round", *(name for name, _ in known)],
        [[number, *(y[i] for _, y in known)] for i, number in enumerate(x)],
    )
    return [Figure(*head, traces, axes | {"xaxis": ROUND_AXIS, "hovermode": "x unified"}, data)]


def _value(record: Round, part: str, metric: str) -> float | None:
    if part == "train":
        return record.train_loss
    metrics = record.test if part == "test" else record.validation
    return metrics.get(metric) if metrics else None


def accuracy_by_client(finals: Sequence[Final]) -> list[Part]:
    """Return the chart of accuracy by client, or nothing while it is not measured."""
    rows = [
        (f.client, (f.shared or {}).get("accuracy"), (f.personal or {}).get("accuracy"))
        for f in finals
    ]
    rows = sorted(
        (row for row in rows if row[1:] != (None, None)),
        key=lambda row: -1.0 if row[1] is None else row[1],
    )
    if not rows:
        return []
    names = [row[0] for row in rows]
    traces = [
        _dots("Global adapter", names, [row[1] for row in rows], 0),
        _dots("Personal adapter", names, [row[2] for row in rows], 1),
    ]
    axis = names_axis(names, sorted_by(len(names), "worst first"))
    caption = (
        "Accuracy on each client's own test data, with the adapter all share"
        " and with the one the client holds after its last training."
    )
    return [
        Figure(
            "client-accuracy",
            "Accuracy by client",
            caption,
            [trace for trace in traces if any(y is not None for y in trace["y"])],
            {"xaxis": axis, "yaxis": PERCENT_AXIS},
            Data(["client", "global accuracy", "personal accuracy"], rows),
            wide=True,
        )
    ]


def _dots(name: str, clients: Sequence[str], y: Sequence[float | None], index: int) -> Trace:
    return line(name, [], y, index) | {
        "mode": "markers",
        "x": [plain(client) for client in clients],
        "marker": {
            "color": f"@c{index}",
            "symbol": ("circle", "diamond-open")[index],
            "size": 5 if len(clients) > MANY_CLIENTS else 9,
        },
        "hovertemplate": "%{x}: %{y:.1%}",
    }
