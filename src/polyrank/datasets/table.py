"""Tables of numbers and categories: a .csv or .parquet file, or a data frame of pandas.

Numbers stay as they are, NaN where one is missing: what they are scaled by, and what fills the
gaps, the run learns from sums over its clients. A category becomes inputs of 0 or 1.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from polyrank.datasets import checks
from polyrank.datasets.cells import as_texts, is_missing
from polyrank.datasets.columns import placed
from polyrank.datasets.data import Data
from polyrank.datasets.frames import Frame, read_frame
from polyrank.datasets.table_inputs import Missing, TableInputs
from polyrank.datasets.targets import labels_of
from polyrank.errors import DataError, SettingsError, nearest


def table(
    path: str,
    *,
    target: str,
    group: str | None = None,
    drop: list[str] | None = None,
    categories: list[str] | dict[str, list[str]] | None = None,
    missing: Missing = "mean",
    scale: bool = True,
    test_path: str | None = None,
) -> Data:
    """Read a table: one column to predict, the others numbers, dates (ISO 8601) or categories.

    Args:
        path: the training rows: a ``.csv``, ``.csv.gz`` or ``.parquet`` file.
        target: the column to predict: categories, or whole numbers that stand for some.
        group: the column that names the natural client of a row, if there is one; no input.
        drop: columns that are no inputs, such as names and numbers of rows.
        categories: columns whose numbers stand for categories, such as post codes; or a table
            with the categories of a column, the same for every client wherever it is.
        missing: ``mean`` puts the clients' mean into the gaps of numbers, beside an input that
            tells of the gap, and takes an empty category for one more; ``refuse`` is an error.
        scale: whether numbers are brought to mean 0 and deviation 1, by sums over clients.
        test_path: a file of the same form with the test rows.

    Raises:
        DataError: a file or column is missing or damaged, a target or group is empty, or a
            column is neither plainly numbers nor plainly categories.
        SettingsError: a column is asked for in two ways.
    """
    test = read_frame(test_path) if test_path else None
    reading = Reading(target, group, drop or [], categories or {}, missing, scale)
    return reading.data(read_frame(path), path, test)


@dataclass(frozen=True)
class Reading:
    """How a table is read; see ``table`` for what each argument means.

    Raises:
        SettingsError: a column is asked for in two ways.
    """

    target: str
    group: str | None = None
    drop: list[str] = field(default_factory=list)
    categories: list[str] | dict[str, list[str]] = field(default_factory=dict)
    missing: Missing = "mean"
    scale: bool = True

    def __post_init__(self) -> None:
        uses = [name for names in self._uses.values() for name in names]
        twice = [name for at, name in enumerate(uses) if name in uses[:at]]
        if twice:
            raise SettingsError(
                f"data: column {twice[0]!r}: expected it in one of target, group, drop and "
                "categories, got it in two"
            )

    @property
    def _uses(self) -> dict[str, list[str]]:
        group = [self.group] if self.group else []
        named = {"target": [self.target], "group": group}
        return {**named, "drop": self.drop, "categories": [*self.categories]}

    def data(self, train: Frame, where: str, test: Frame | None = None) -> Data:
        """Return the rows of a table, and perhaps of a second one to test on, for a run.

        Raises:
            DataError: see ``table``.
        """
        frames = {where: train} | ({} if test is None else {f"{where}: test rows": test})
        for place, frame in frames.items():
            self._check_columns(frame, place, needs_group=frame is train)
        taken = {self.target, self.group, *self.drop}
        named = self.categories if isinstance(self.categories, dict) else {}
        known = {name: named.get(name) for name in self.categories}
        read = TableInputs(known, self.missing, self.scale).of
        left = [{n: c for n, c in frame.items() if n not in taken} for frame in frames.values()]
        parts = [read(frame, place) for place, frame in zip(frames, left, strict=True)]
        x, columns = parts[0]
        tested = [placed(*part, columns.names, f"{where}: test rows") for part in parts[1:]]
        cells = [frame[self.target] for frame in frames.values()]
        labels, names = labels_of(cells, f"{where}: column {self.target!r}")
        groups = None
        if self.group:
            groups = _groups(train[self.group], f"{where}: column {self.group!r}")
        return Data(
            train_x=x,
            train_y=labels[: len(x)],
            test_x=tested[0] if tested else x[:0],
            test_y=labels[len(x) :],
            label_names=names,
            source=where,
            train_groups=groups,
            columns=columns,
        )

    def _check_columns(self, frame: Mapping[str, object], where: str, *, needs_group: bool) -> None:
        for option, names in self._uses.items():
            for name in names:
                if name not in frame and (needs_group or option in ("target", "categories")):
                    raise DataError(
                        f"{where}: data.{option} = {name!r}: there is no such column"
                        f"{nearest(name, frame)}; the columns are {', '.join(frame)}"
                    )


def _groups(cells: np.ndarray, where: str) -> np.ndarray:
    texts = as_texts(cells)
    lost = is_missing(texts)
    if lost.any():
        raise DataError(
            f"{where}: expected a client in every row, got none in {np.count_nonzero(lost)} of "
            f"{len(lost)}, first in row {np.argmax(lost) + 1}"
        )
    return checks.group_names(np.array(texts.tolist(), np.str_), where)
