"""What the columns of a table became: names of inputs, and which of them are numbers to scale."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from polyrank.errors import DataError, nearest

IS, MISSING = " = ", " is missing"  # "colour = red", "age is missing": inputs of 0 or 1


@dataclass(frozen=True)
class Columns:
    """The inputs that the columns of a table became.

    Args:
        names: d of them, in the order of the inputs: ``age``, ``age is missing``,
            ``colour = red``.
        numbers: places of those that are numbers, which a run scales; the others are 0 or 1.
        scaled: whether they are to be scaled.
    """

    names: tuple[str, ...]
    numbers: tuple[int, ...]
    scaled: bool = True


def placed(x: np.ndarray, have: Columns, names: Sequence[str], where: str) -> np.ndarray:
    """Return the inputs (n, d) of a table in the places of other ones, (n, len(names)).

    A category or a missing value that only one side knows is 0 in all rows of the other.

    Args:
        x: (n, len(have.names)) float32.
        have: what stands in ``x``.
        names: the places that are wanted.
        where: for messages.

    Raises:
        DataError: a column of numbers is lacking, or one that nobody knows is there.
    """
    if tuple(names) == have.names:
        return x
    lacking = [name for name in names if name not in have.names and not _of_rows(name)]
    if lacking:
        column = lacking[0]
        raise DataError(
            f"{where}: expected a column of numbers {column!r}{nearest(column, have.names)}, got "
            f"{', '.join(_columns(have.names))}"
        )
    known = _columns(names)
    unknown = [column for column in _columns(have.names) if column not in known]
    if unknown:
        raise DataError(
            f"{where}: expected the columns {', '.join(known)}, got also {unknown[0]!r}; "
            f"leave it out with data.drop = [{unknown[0]!r}]"
        )
    found = np.zeros((len(x), len(names)), dtype=np.float32)
    for place, name in enumerate(names):
        if name in have.names:
            found[:, place] = x[:, have.names.index(name)]
    return found


def joined(tables: Sequence[tuple[str, Columns]]) -> Columns:
    """Return the inputs of several tables together: all their numbers, all their categories.

    Args:
        tables: the name of each, for messages, and its columns.

    Raises:
        DataError: a column holds numbers in one table and categories in another.
    """
    columns = tables[0][1]
    forms: dict[str, tuple[bool, str]] = {}
    names: dict[str, None] = {}
    for where, table in tables:
        for place, name in enumerate(table.names):
            number = place in table.numbers
            column = _column(name)
            if not name.endswith(MISSING):
                known, there = forms.setdefault(column, (number, where))
                if known != number:
                    one, other = (there, where) if known else (where, there)
                    raise DataError(
                        f"column {column!r}: numbers in {one}, categories in {other}: expected "
                        f"one kind; data.categories = [{column!r}] takes them all as categories"
                    )
            names[name] = None
    every = sorted(names, key=lambda name: _order(name, list(forms)))
    numbers = [place for place, name in enumerate(every) if not _of_rows(name)]
    return Columns(tuple(every), tuple(numbers), columns.scaled)


def _order(name: str, columns: Sequence[str]) -> tuple[int, int, str]:
    """Sort by column, the number before the mark that it is missing, categories by name."""
    return columns.index(_column(name)), 1 if _of_rows(name) else 0, name


def _of_rows(name: str) -> bool:
    """Tell whether an input is 0 or 1 by the row: a category, or a mark."""
    return IS in name or name.endswith(MISSING)


def _column(name: str) -> str:
    return name.partition(IS)[0] if IS in name else name.removesuffix(MISSING)


def _columns(names: Sequence[str]) -> list[str]:
    return list(dict.fromkeys(map(_column, names)))
