"""Evaluate a trained model on labelled data."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from polyrank import datasets
from polyrank.datasets import Data
from polyrank.datasets.columns import placed
from polyrank.datasets.given import GIVEN, handed_over
from polyrank.datasets.load import kind_of
from polyrank.disk.outside import as_written
from polyrank.errors import DataError
from polyrank.learning.counting import count_answers
from polyrank.learning.forward import choose_device
from polyrank.record.run_folder import RunFolder
from polyrank.runs.encoding import check_labels, encode
from polyrank.runs.loading import load_own
from polyrank.runs.trained_model import read_trained
from polyrank.server.metrics import metrics_of
from polyrank.settings.schema import Settings
from polyrank.settings.trust import built_for_a_model, refuse_own_code
from polyrank.threads import one_thread


def evaluate(
    path: str | Path,
    source: object = None,
    client: str | None = None,
    *,
    own: object = None,
    trust: bool = False,
) -> dict[str, float]:
    """Return the metrics of a run's model on the run's own test rows, or on other data.

    Args:
        path: the run folder.
        source: a data set as in the settings, of which the test part counts if it brings one,
            else all rows; labels are told by their names. A file of the run's kind is read with
            the run's options, such as its columns. Or data as ``polyrank.run`` takes them in
            Python. None for the run's own test rows.
        client: whose model; None for the global one.
        own: the data that were handed over to the run in Python, if they were: its own test rows
            are among them.
        trust: import and call the model, and the data unless others are given, where the run's
            settings name code of somebody's own.

    Raises:
        DataError: the examples do not fit the model.
        RunFolderError: nothing is saved, the client is unknown, or the settings name code of
            somebody's own and ``trust`` is not given.
    """
    path = Path(path)
    settings = RunFolder.open(path).settings
    if not trust:
        keys = [*built_for_a_model(settings), *(["data"] if source is None else [])]
        refuse_own_code(settings, path, "eval", *keys)
    trained = read_trained(path, client)
    data = _own(settings, own) if source is None else _other(settings, source)
    data = _in_columns(data, trained.columns)
    inputs, labels = (
        (data.test_x, data.test_y) if len(data.test_y) else (data.train_x, data.train_y)
    )
    if data.labelled:
        labels = _renumbered(labels, data, trained.label_names)
    examples = encode(settings, inputs, labels, None).examples
    check_labels(data, examples)
    if examples.input_shape != trained.input_shape:
        raise DataError(
            f"{data.source}: examples of shape {examples.input_shape}, the model takes "
            f"{trained.input_shape}"
        )
    with as_written(path):
        model = trained.bridge().model
    with one_thread():
        rows = torch.arange(len(examples))
        counts, loss = count_answers(model, examples, rows, trained.classes, choose_device("cpu"))
    return {"rows": float(len(examples)), **metrics_of(counts, loss)}


def _own(settings: Settings, own: object) -> Data:
    given = None if own is None else handed_over(own, settings.data.options)
    return load_own(settings, given)


def _other(settings: Settings, source: object) -> Data:
    """Load a data set as it is; what the run's options say of a test part is not meant for it."""
    given = settings.data
    kept = {n: v for n, v in given.options.items() if not n.startswith("test")}
    if not isinstance(source, str | Path):
        return handed_over(source, kept)
    first = given.source if isinstance(given.source, str) else given.source[0]
    kinds = kind_of(str(source), given.options), kind_of(first, given.options)
    table_of_frames = kinds == ("table", GIVEN) and "target" in kept
    options = kept if kinds[0] == kinds[1] or table_of_frames else {}
    return datasets.load(str(source), seed=settings.seed, test=0.0, options=options)


def _in_columns(data: Data, names: tuple[str, ...] | None) -> Data:
    """Put the columns of another table in the places that the model knows."""
    if data.columns is None or names is None:
        return data
    x = (placed(part, data.columns, names, data.source) for part in (data.train_x, data.test_x))
    return replace(data, train_x=next(x), test_x=next(x))


def _renumbered(labels: np.ndarray, data: Data, known: Sequence[str]) -> np.ndarray:
    """Return the model's numbers for the labels of other data."""
    unknown = sorted({data.label_names[k] for k in set(labels.tolist())} - set(known))
    if unknown:
        raise DataError(
            f"{data.source}: expected the labels that the model knows, {', '.join(known[:20])}; "
            f"got {', '.join(unknown[:20])}"
        )
    places = [known.index(name) if name in known else -1 for name in data.label_names]
    numbers: np.ndarray = np.array(places)[labels]
    return numbers
