"""Arrays, and the items of a data set of PyTorch, as a data set."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from polyrank.datasets import checks
from polyrank.datasets.data import Data
from polyrank.datasets.pixels import has_colour, pixels_of
from polyrank.errors import DataError


def of_arrays(x: Any, y: Any, where: str) -> Data:  # noqa: ANN401 - arrays or tensors
    """Return inputs (n, ...) and labels (n,), integers or texts, as a data set.

    Tensors of images have their channels first, as PyTorch has them; arrays have them last.

    Raises:
        DataError: they cannot be used, or differ in length.
    """
    inputs, labels = _channels_last(x, images=4), np.asarray(_plain(y))
    if inputs.dtype == object:
        inputs = np.array(inputs.tolist(), np.str_)
    found = checks.inputs(inputs, f"{where}: inputs")
    checks.same_length(where, inputs=found, labels=np.atleast_1d(labels))
    if labels.dtype.kind in "UO" and labels.ndim == 1:
        numbers, names = checks.text_labels([str(v) for v in labels], f"{where}: labels")
    else:
        numbers, names = checks.numbered(checks.integer_labels(labels, f"{where}: labels"))
    return _data(found, numbers, names, where)


def of_items(items: Any, where: str) -> Data:  # noqa: ANN401 - a data set of PyTorch
    """Return the items of a data set, pairs of an input and a label, as a data set.

    An input is a tensor, an array, an image of pillow or a text, all of one shape.

    Raises:
        DataError: an item is no such pair, or inputs differ.
    """
    pairs = [items[place] for place in range(len(items))]
    for place, pair in enumerate(pairs):
        if not isinstance(pair, tuple | list) or len(pair) != 2:
            raise DataError(
                f"{where}: item {place}: expected a pair of input and label, got "
                f"{type(pair).__name__}"
            )
    if not pairs:
        raise DataError(f"{where}: expected at least one row, got none")
    labels = [np.asarray(_plain(label)) for _, label in pairs]
    for place, label in enumerate(labels):
        if label.shape not in ((), (1,)):
            raise DataError(f"{where}: item {place}: expected one label, got shape {label.shape}")
    y = np.array([label.item() for label in labels])
    return of_arrays(_stacked([x for x, _ in pairs], where), y, where)


def _stacked(inputs: Sequence[Any], where: str) -> np.ndarray:
    """Return the inputs of items (n, ...)."""
    if isinstance(inputs[0], str):
        if not all(isinstance(x, str) for x in inputs):
            raise DataError(f"{where}: expected texts in all items, got other inputs in some")
        return np.array(inputs, dtype=object)
    if hasattr(inputs[0], "convert"):  # an image of pillow
        colour = any(has_colour(image) for image in inputs)
        arrays = [pixels_of(image, colour=colour) for image in inputs]
    else:
        arrays = [_channels_last(x, images=3) for x in inputs]
    for place, array in enumerate(arrays):
        if array.shape != arrays[0].shape:
            raise DataError(
                f"{where}: expected inputs of one shape, got {arrays[0].shape} in item 0 and "
                f"{array.shape} in item {place}"
            )
    return np.stack([np.atleast_1d(array) for array in arrays])


def _channels_last(x: Any, *, images: int) -> np.ndarray:  # noqa: ANN401 - array or tensor
    """Return an array; of a tensor of ``images`` dimensions, with channels at the end or none."""
    plain = np.asarray(_plain(x))
    if not hasattr(x, "detach") or plain.ndim != images:
        return plain
    moved = np.moveaxis(plain, -3, -1)
    return moved[..., 0] if moved.shape[-1] == 1 else moved


def _plain(x: Any) -> Any:  # noqa: ANN401 - array or tensor
    return x.detach().cpu().numpy() if hasattr(x, "detach") else x


def _data(x: np.ndarray, y: np.ndarray, names: tuple[str, ...], where: str) -> Data:
    return Data(x, y, x[:0], y[:0], names, where)
