"""What a table is to predict: categories, from texts or from numbers that stand for some."""

from collections.abc import Sequence

import numpy as np

from polyrank.datasets.cells import as_texts, is_missing
from polyrank.errors import DataError


def labels_of(parts: Sequence[np.ndarray], where: str) -> tuple[np.ndarray, tuple[str, ...]]:
    """Return the labels (n,) int64 of all parts, one after the other, and their names.

    Names are sorted, numbers by their value.

    Args:
        parts: texts as objects or numbers, of training rows and perhaps test rows.
        where: for messages.

    Raises:
        DataError: an empty cell, or numbers to be estimated rather than told apart.
    """
    texts = np.concatenate([_named(part) for part in parts])
    lost = is_missing(texts)
    if lost.any():
        raise DataError(
            f"{where}: expected what is to be predicted in every row, got nothing in "
            f"{np.count_nonzero(lost)} of {len(lost)}, first in row {np.argmax(lost) + 1}: leave "
            "these rows out"
        )
    names, labels = np.unique(texts, return_inverse=True)
    values = _values(names)
    if values is None:
        return labels.astype(np.int64), tuple(map(str, names))
    if len(names) > 20 and (2 * len(names) > len(texts) or (values % 1 != 0).any()):
        raise DataError(
            f"{where}: expected a few categories, got {len(names):,} different numbers in "
            f"{len(texts):,} rows: PolyRank tells categories apart and does not estimate numbers; "
            "cut them into ranges first, as pandas.cut does"
        )
    order = np.argsort(values, kind="stable")
    return np.argsort(order)[labels].astype(np.int64), tuple(str(names[k]) for k in order)


def _named(cells: np.ndarray) -> np.ndarray:
    """Write numbers as texts, whole ones without a point: 1.0 is ``1`` wherever it came from."""
    if cells.dtype == object:
        values = _values(cells)
        return cells if values is None else _named(values)
    return as_texts(cells)


def _values(texts: np.ndarray) -> np.ndarray | None:
    """Return texts (n,) as numbers, NaN for an empty one; None if one is no number."""
    try:
        found = [float(text) if text else np.nan for text in texts.tolist()]
    except ValueError:
        return None
    return np.array(found)
