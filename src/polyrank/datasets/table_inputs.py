"""The columns of a table as inputs of a model: numbers, gaps in them, and categories as 0 or 1."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np

from polyrank.datasets.cells import as_texts, check_few, finite, is_missing, numbers_of
from polyrank.datasets.columns import IS, MISSING, Columns
from polyrank.datasets.frames import Frame
from polyrank.errors import DataError

Missing: TypeAlias = Literal["mean", "refuse"]


@dataclass(frozen=True)
class TableInputs:
    """How columns become inputs.

    Args:
        categories: columns that are categories whatever they look like, and which ones; None for
            those that occur.
        missing: what to do with gaps, see ``table``.
        scale: whether numbers are to be scaled.
    """

    categories: Mapping[str, Sequence[str] | None]
    missing: Missing
    scale: bool

    def of(self, frame: Frame, where: str) -> tuple[np.ndarray, Columns]:
        """Return the inputs (n, d) float32 of all columns, and what they are.

        Raises:
            DataError: no columns, or one that cannot be used.
        """
        parts: dict[str, np.ndarray] = {}
        numbers: list[str] = []
        for name, cells in frame.items():
            values = self._numbers(name, cells, where)
            if values is None:
                parts |= self._one_hot(name, as_texts(cells), where)
            else:
                numbers.append(name)
                parts[name] = values
                parts |= self._mark(np.isnan(values), name, where)
        if not parts:
            raise DataError(f"{where}: expected columns to predict from, got none")
        places = {name: place for place, name in enumerate(parts)}
        x = np.stack([*parts.values()], axis=1).astype(np.float32)
        return x, Columns(tuple(parts), tuple(places[name] for name in numbers), self.scale)

    def _numbers(self, name: str, cells: np.ndarray, where: str) -> np.ndarray | None:
        if name in self.categories:
            return None
        if cells.dtype == object:
            return numbers_of(cells, name, where)
        return finite(cells, name, where)

    def _one_hot(self, name: str, texts: np.ndarray, where: str) -> dict[str, np.ndarray]:
        lost, known = is_missing(texts), self.categories.get(name)
        if known is None:
            known = np.unique(texts[~lost]).tolist()
            check_few(len(known), name, where)
        parts = {f"{name}{IS}{category}": texts == category for category in known}
        return parts | self._mark(lost, name, where)

    def _mark(self, lost: np.ndarray, name: str, where: str) -> dict[str, np.ndarray]:
        """Return an input that tells of gaps, if there are any."""
        if not lost.any():
            return {}
        if self.missing == "refuse":
            raise DataError(
                f"{where}: column {name!r}: expected a value in every row, got none in "
                f"{np.count_nonzero(lost)} of {len(lost)}, first in row {np.argmax(lost) + 1}; "
                "data.missing = 'mean' fills the gaps of numbers, and takes an empty category for "
                "one more"
            )
        return {f"{name}{MISSING}": lost}
