"""Evaluate a trained model on labelled data."""

from pathlib import Path

import torch

from polyrank import datasets
from polyrank.encoding import check_labels, encode
from polyrank.errors import DataError
from polyrank.export import read_trained
from polyrank.metrics import metrics_of
from polyrank.threads import one_thread
from polyrank.training import choose_device, count_answers


def evaluate_run(
    path: Path, source: str | None = None, client: str | None = None
) -> dict[str, float]:
    """Return the metrics of a run's model on the test rows of a data set.

    Args:
        path: the run folder.
        source: a data set as in the settings; None for the run's own test rows.
        client: whose model; None for the global one.

    Raises:
        DataError: the examples do not fit the model.
        RunFolderError: nothing is saved, or the client is unknown.
    """
    trained = read_trained(path, client)
    settings = trained.settings
    data = datasets.load(
        source or settings.data.source,
        seed=settings.seed,
        test=settings.data.test,
        options=settings.data.options if source is None else {},
    )
    examples = encode(settings, data.test_x, data.test_y, None).examples
    check_labels(data, examples)
    if examples.input_shape != trained.input_shape or len(data.label_names) > trained.classes:
        raise DataError(
            f"{data.source}: examples of shape {examples.input_shape} with "
            f"{len(data.label_names)} labels, the model takes {trained.input_shape} "
            f"with {trained.classes}"
        )
    with one_thread():
        rows = torch.arange(len(examples))
        counts, loss = count_answers(
            trained.bridge().model, examples, rows, trained.classes, choose_device("cpu")
        )
    return {"rows": float(len(examples)), **metrics_of(counts, loss)}
