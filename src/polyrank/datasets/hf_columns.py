"""Columns of a Hugging Face data set as arrays.

Only what every version of the library ``datasets`` has is used, and the library itself is
not imported: columns are told apart by the ``dtype`` of their feature.
"""

from collections.abc import Iterator, Mapping, Sequence
from itertools import chain
from typing import Any

import numpy as np

from polyrank.datasets import checks, text_forms
from polyrank.datasets.pixels import has_colour, pixels_of
from polyrank.errors import DataError

_TEXT = ("string", "large_string")
_IMAGE = "PIL.Image.Image"


def only_input(features: Mapping[str, Any], taken: set[str | None], where: str) -> str:
    """Return the one column of texts or images that is not taken.

    Raises:
        DataError: there is none, or there are several.
    """
    fits = [
        name
        for name, feature in features.items()
        if name not in taken and _dtype(feature) in (*_TEXT, _IMAGE)
    ]
    if len(fits) != 1:
        raise DataError(
            f"{where}: expected one column of texts or images, got {', '.join(fits) or 'none'} "
            f"out of {', '.join(features)}: choose with the option input"
        )
    return fits[0]


def is_conversation(feature: object) -> bool:
    """Whether a column holds lists of messages, each with ``role`` and ``content``."""
    element = feature[0] if isinstance(feature, list) else getattr(feature, "feature", None)
    return isinstance(element, Mapping) and {"role", "content"} <= element.keys()


def column_inputs(split: Any, columns: Sequence[str], where: str) -> np.ndarray:  # noqa: ANN401
    """Return what one column holds, or prompts and completions (n,) of two."""
    if len(columns) == 1:
        return _inputs(split, columns[0], f"{where}: column {columns[0]!r}")
    sides = [_inputs(split, column, f"{where}: column {column!r}") for column in columns]
    for side, column in zip(sides, columns, strict=True):
        if not isinstance(side[0], str):
            got = split.features[column]
            raise DataError(f"{where}: column {column!r}: expected texts, got {got}")
    return text_forms.pairs(*sides)


def _inputs(split: Any, column: str, where: str) -> np.ndarray:  # noqa: ANN401
    """Return texts or conversations (n,), or uint8 images (n, height, width) or (..., 3).

    Grey images stay grey; palettes and colours other than RGB become RGB, transparency is
    dropped.

    Raises:
        DataError: neither texts, images nor conversations, no rows, a missing value, or images
            that differ in size, are damaged, or have more than 8 bits per colour.
    """
    dtype = _dtype(split.features[column])
    if len(split) == 0:
        raise DataError(f"{where}: expected at least one row, got none")
    if dtype in _TEXT:
        return np.array(_values(split, column, where), dtype=object)
    if dtype == _IMAGE:
        return _images(split, column, where)
    if is_conversation(split.features[column]):
        return _conversations(_values(split, column, where), where)
    raise DataError(f"{where}: expected texts or images, got {split.features[column]}")


def labels(splits: Sequence[Any], column: str, where: str) -> tuple[np.ndarray, tuple[str, ...]]:
    """Return the labels (n,) of all splits, one after the other, and their names.

    Raises:
        DataError: a missing value, labels that are neither integers nor strings, or splits
            that number their labels differently.
    """
    feature = splits[0].features[column]
    names = getattr(feature, "names", None)
    for split in splits[1:]:
        if (_dtype(split.features[column]), getattr(split.features[column], "names", None)) != (
            _dtype(feature),
            names,
        ):
            raise DataError(f"{where}: expected the same labels in all splits, got others")
    values = [value for split in splits for value in _values(split, column, where)]
    if _dtype(feature) in _TEXT:
        return checks.text_labels(values, where)
    found = checks.integer_labels(np.array(values), f"{where} (a split without labels?)")
    return checks.numbered(found) if names is None else (found, tuple(names))


def groups(split: Any, column: str, where: str) -> np.ndarray:  # noqa: ANN401
    """Return the names of the natural clients (n,).

    Raises:
        DataError: a missing or empty value, or neither integers nor strings.
    """
    where = f"{where}: column {column!r}"
    return checks.group_names(np.array(_values(split, column, where)), where)


def _values(split: Any, column: str, where: str) -> list[Any]:  # noqa: ANN401
    """Return a column as Python values, none of them missing."""
    values = list(split.with_format(None).select_columns([column])[:][column])
    if None in values:
        raise DataError(f"{where}: expected a value in every row, row {values.index(None)} is null")
    return values


def _conversations(values: Sequence[Any], where: str) -> np.ndarray:
    """Return (n,) dicts with ``messages``; a key that only other messages have is left out."""
    found = np.empty(len(values), dtype=object)
    for row, messages in enumerate(values):
        if isinstance(messages, list):
            messages = [
                {key: value for key, value in message.items() if value is not None}
                for message in messages
            ]
        text_forms.check_messages(messages, f"{where}: row {row}")
        found[row] = {"messages": messages}
    return found


def _images(split: Any, column: str, where: str) -> np.ndarray:  # noqa: ANN401
    """Stack the images one by one, so that memory holds them once."""
    decoded = _decoded(split, column, where)
    first = next(decoded)
    stacked = np.empty((len(split), *first.shape), dtype=np.uint8)
    for row, pixels in enumerate(chain([first], decoded)):
        if pixels.shape != first.shape:
            raise DataError(
                f"{where}: expected images of one size and colour, got {first.shape} in row 0 "
                f"and {pixels.shape} in row {row}"
            )
        stacked[row] = pixels
    return stacked


def _decoded(split: Any, column: str, where: str) -> Iterator[np.ndarray]:  # noqa: ANN401
    rows = iter(split.with_format(None).select_columns([column]))
    for row in range(len(split)):
        try:
            yield _pixels(next(rows)[column])
        except (OSError, ValueError, ImportError) as error:
            raise DataError(f"{where}: row {row}: cannot read the image: {error}") from error


def _pixels(image: Any) -> np.ndarray:  # noqa: ANN401
    """Return a PIL image as uint8 (height, width) or (height, width, 3)."""
    if image is None:
        raise ValueError("it is null")
    return pixels_of(image, colour=has_colour(image))


def _dtype(feature: object) -> str:
    return str(getattr(feature, "dtype", ""))
