"""A federation whose hosts have data of their own: the server's rows, and one client's."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from polyrank import datasets
from polyrank.client.agreement import Agreement
from polyrank.client.site import Site
from polyrank.datasets import Data
from polyrank.datasets.columns import placed
from polyrank.errors import DataError, SettingsError
from polyrank.inputs.arrays import RowView
from polyrank.lora.factors import Adapter, Tensors
from polyrank.runs.encoding import check_labels, encode
from polyrank.runs.preparation import Prepared, server_side
from polyrank.seeding import numpy_stream
from polyrank.settings.schema import Settings


def prepare_server(
    settings: Settings,
    store: Path | None,
    base: Tensors | None = None,
    start: Adapter | None = None,
    cache: Path | None = None,
    given: Data | None = None,
) -> Prepared:
    """Load the server's own data: its test part, and all other rows to choose the best round.

    Args:
        settings: of the run.
        store: for what clients keep; here are none.
        base: the frozen base if it is known already, as it is on resume.
        start: what became of ``init_adapter``, if it is known already.
        cache: folder for tokenised texts, or None.
        given: data in place of those that the settings name.

    Raises:
        SettingsError: the settings do not fit the data or the model.
        DataError: the data cannot be used.
    """
    if settings.pretrain:
        raise SettingsError(
            "pretrain: expected none where clients have data of their own; give a base that was "
            "trained before"
        )
    source = settings.data
    data = given or datasets.load(
        source.source, seed=settings.seed, test=source.test, options=source.options
    )
    encoded = encode(settings, data.train_x, data.train_y, cache)
    tested = encode(settings, data.test_x, data.test_y, cache)
    check_labels(data, encoded.examples)
    everything = torch.arange(len(data.train_y))
    none = everything[:0]
    chosen_by = everything if settings.evaluation.held_by == "server" else none
    side = server_side(settings, data, (encoded, tested), chosen_by, none, base, start)
    return Prepared(side, {}, store)


def own_site(
    settings: Settings,
    agreement: Agreement,
    about: Mapping[str, Any],
    cache: Path | None,
) -> Site:
    """Load a client's own file; its labels are told apart as the run does it.

    Args:
        settings: of the run; they say which columns are read, and the client's own test share.
        agreement: of the client.
        about: the run's ``label_names``, ``columns`` of a table, ``input_shape`` of an example.
        cache: folder for tokenised texts, or None.

    Raises:
        DataError: the file cannot be used, holds a label that the run has not, or examples of
            another shape.
    """
    assert agreement.data is not None
    data = datasets.load(
        agreement.data, seed=settings.seed, test=0.0, options=settings.data.options
    )
    labels = _as_the_run(data, about["label_names"])
    inputs = data.train_x
    if data.columns and about["columns"]:
        inputs = placed(inputs, data.columns, about["columns"], data.source)
    examples = encode(settings, inputs, labels, cache).examples
    check_labels(data, examples)
    if list(examples.input_shape) != list(about["input_shape"]):
        raise DataError(
            f"{data.source}: expected examples of shape {list(about['input_shape'])}, got "
            f"{list(examples.input_shape)}"
        )
    count, share = len(labels), settings.data.client_test
    tests = min(max(1, round(share * count)) if share else 0, count - 1)
    rows = numpy_stream(settings.seed, "split", "client_test", agreement.client).permutation(count)
    return Site(
        RowView(examples, torch.from_numpy(np.sort(rows[tests:]))),
        RowView(examples, torch.from_numpy(np.sort(rows[:tests]))),
        secret=agreement.secret or 0,
        tells=frozenset(settings.profile) & frozenset(agreement.tells),
        cap=agreement.cap,
    )


def _as_the_run(data: Data, label_names: Sequence[str]) -> np.ndarray:
    """Return the labels (n,) as places in the run's names."""
    if not data.labelled:
        return data.train_y
    places = {name: place for place, name in enumerate(label_names)}
    unknown = [name for name in data.label_names if name not in places]
    if unknown:
        raise DataError(
            f"{data.source}: expected labels of the run, which are {', '.join(label_names[:20])}; "
            f"got {', '.join(map(repr, unknown[:5]))}"
        )
    table = np.array([places[name] for name in data.label_names], dtype=np.int64)
    return np.asarray(table[data.train_y])
