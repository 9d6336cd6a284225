"""What the cells of one column of a table are: numbers, dates, or categories.

A column of texts is taken for what all its cells can be read as. What is neither plainly
numbers nor plainly categories is answered with what to do, and never guessed.
"""

import re
from datetime import UTC, datetime

import numpy as np

from polyrank.errors import DataError

MOST_CATEGORIES = 100
LARGEST = 1e30  # of a number: differences and means stay within float32
NOTHING = frozenset(
    {"", "NA", "N/A", "#N/A", "n/a", "<NA>", "NaN", "nan", "NaT", "NULL", "null", "None"}
)
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")
_CODE = re.compile(r"0\d+")  # as in telephone numbers and post codes: not to be added up
_DATE = re.compile(r"\d{4}-\d{2}-\d{2}([T ]\d{2}:\d{2}.*)?")
_OTHER_DATE = re.compile(r"\d{1,2}[./-]\d{1,2}[./-]\d{2,4}( .*)?|\d{4}/\d{1,2}/\d{1,2}( .*)?")
_COMMA = re.compile(r"[+-]?\d{1,3}(\.\d{3})*,\d+")
_DAY = 86400.0


def numbers_of(texts: np.ndarray, column: str, where: str) -> np.ndarray | None:
    """Return texts (n,) as float64 (n,), NaN where a cell is empty; None if they are categories.

    Dates are days since 1970-01-01.

    Raises:
        DataError: numbers out of range, or texts that look like numbers or dates and cannot be
            read as such.
    """
    there = ~is_missing(texts)
    different = [str(text) for text in np.unique(texts[there])]
    if not different:
        return np.full(len(texts), np.nan)
    if any(map(_CODE.fullmatch, different)):
        return None
    if all(map(_NUMBER.fullmatch, different)):
        read = {text: float(text) for text in different}
    elif all(map(_DATE.fullmatch, different)):
        read = {text: _days(text, column, where) for text in different}
    else:
        _check_no_numbers(texts, different, column, where)
        return None
    found = np.full(len(texts), np.nan)
    found[there] = [read[text] for text in texts[there]]
    return finite(found, column, where)


def finite(values: np.ndarray, column: str, where: str) -> np.ndarray:
    """Return numbers (n,) as they are; raise DataError if one is too large to be scaled."""
    bad = np.abs(values) > LARGEST
    if bad.any():
        row = int(np.argmax(bad))
        raise DataError(
            f"{where}: column {column!r}: expected numbers up to {LARGEST:g}, got "
            f"{values[row]:g} in row {row + 1}; an empty cell stands for a missing number"
        )
    return values


def as_texts(cells: np.ndarray) -> np.ndarray:
    """Return numbers (n,) as texts, whole ones without a point; texts as they are."""
    if cells.dtype == object:
        return cells
    return np.array(["" if np.isnan(v) else f"{v:.15g}" for v in cells.tolist()], dtype=object)


def is_missing(texts: np.ndarray) -> np.ndarray:
    """Tell which texts (n,) stand for nothing, as pandas reads them: (n,) bool."""
    return np.isin(texts, sorted(NOTHING))


def check_few(different: int, column: str, where: str) -> None:
    """Raise DataError if a column has too many different texts to be categories."""
    if different > MOST_CATEGORIES:
        raise DataError(
            f"{where}: column {column!r} has {different:,} different texts: expected at most "
            f"{MOST_CATEGORIES} categories; leave out names and free texts with "
            f"data.drop = [{column!r}]"
        )


def _check_no_numbers(texts: np.ndarray, different: list[str], column: str, where: str) -> None:
    """Raise DataError if the texts look like numbers or dates that cannot be read."""
    said = f"{where}: column {column!r}"
    if all(_COMMA.fullmatch(text) or _NUMBER.fullmatch(text) for text in different):
        raise DataError(f"{said}: expected numbers with a decimal point, got {different[0]!r}")
    if all(map(_OTHER_DATE.fullmatch, different)):
        raise DataError(
            f"{said}: expected dates such as 2024-12-31, got {different[0]!r}: write them so, or "
            f"leave them out with data.drop = [{column!r}]"
        )
    others = [text for text in different if not _NUMBER.fullmatch(text)]
    if len(different) > 2 * len(others):
        row = int(np.argmax(texts == others[0]))
        raise DataError(
            f"{said}: expected numbers, got {others[0]!r} in row {row + 1}: leave the cell empty "
            f"if the number is missing, or name the column in data.categories"
        )


def _days(text: str, column: str, where: str) -> float:
    try:
        when = datetime.fromisoformat(text)
    except ValueError as error:
        raise DataError(f"{where}: column {column!r}: {text!r} is no date: {error}") from error
    return (when if when.tzinfo else when.replace(tzinfo=UTC)).timestamp() / _DAY
