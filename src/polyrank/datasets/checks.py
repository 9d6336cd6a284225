"""Turn what a file holds into the inputs and labels of ``Data``, or say what is wrong."""

import codecs
import gzip
import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from polyrank.errors import DataError

MAX_LABELS = 100_000

_INTEGER = re.compile(r"-?[0-9]{1,18}")


def existing_file(path: str) -> Path:
    """Return ``path`` as a Path, or raise DataError if there is no such file."""
    found = Path(path).expanduser()
    if not path or not found.is_file():
        got = "a folder" if path and found.is_dir() else "nothing"
        raise DataError(f"data file {path!r}: expected a file, got {got} (in {Path.cwd()})")
    return found


def existing_folder(path: str) -> Path:
    """Return ``path`` as a Path, or raise DataError if there is no such folder."""
    found = Path(path).expanduser()
    if not path or not found.is_dir():
        got = "a file" if path and found.is_file() else "nothing"
        raise DataError(f"data folder {path!r}: expected a folder, got {got} (in {Path.cwd()})")
    return found


def not_utf8(path: Path) -> DataError:
    """Return the error message for a file of lines, gzipped or not, that is not UTF-8."""
    with gzip.open(path) if path.suffix.lower() == ".gz" else path.open("rb") as lines:
        bad = ((number, line) for number, line in enumerate(lines, start=1) if not _is_utf8(line))
        number, line = next(bad, (1, b""))
    wide = number == 1 and line.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    perhaps, name = ("UTF-16",) * 2 if wide else ("Latin-1 or Windows-1252", "WINDOWS-1252")
    return DataError(
        f"{path}: line {number}: expected UTF-8, got other bytes, perhaps of {perhaps}: "
        f"'iconv -f {name} -t UTF-8' converts it"
    )


def _is_utf8(line: bytes) -> bool:
    try:
        line.decode()
    except UnicodeDecodeError:
        return False
    return True


def inputs(values: np.ndarray, where: str) -> np.ndarray:
    """Return uint8 (n, ...), float32 (n, ...) or texts (n,) of dtype object.

    Booleans, other integers and other floats become float32; texts come as a string array.

    Raises:
        DataError: no rows, too few dimensions, another dtype, NaN or infinity.
    """
    if values.dtype.kind == "U" and values.ndim == 1:
        found = values.astype(object)
    elif values.dtype.kind in "buif" and values.ndim >= 2:
        found = values
    else:
        raise DataError(
            f"{where}: expected numbers of shape (rows, ...) or texts of shape (rows,), got "
            f"{values.dtype} of shape {values.shape}"
        )
    if found.size == 0:
        raise DataError(f"{where}: expected at least one row with values, got {values.shape}")
    if found.dtype in (np.dtype(object), np.dtype(np.uint8)):
        return found
    with np.errstate(over="ignore"):
        found = found.astype(np.float32, copy=False)
    finite = np.isfinite(found).reshape(len(found), -1).all(axis=1)
    if not finite.all():
        raise DataError(
            f"{where}: expected finite numbers within float32, got NaN or infinity in "
            f"{np.count_nonzero(~finite)} of {len(found)} rows, first in row {np.argmin(finite)}"
        )
    return found


def integer_labels(values: np.ndarray, where: str) -> np.ndarray:
    """Return labels (n,) as int64, as they are numbered in the file.

    Raises:
        DataError: not integers, of another shape, below 0, or 100,000 and above.
    """
    if values.dtype.kind not in "iu" or values.ndim != 1:
        raise DataError(
            f"{where}: expected integer labels of shape (rows,), got {values.dtype} of shape "
            f"{values.shape}"
        )
    if len(values) == 0:
        return values.astype(np.int64)
    for row in (int(np.argmin(values)), int(np.argmax(values))):
        if not 0 <= values[row] < MAX_LABELS:
            raise DataError(
                f"{where}: expected whole numbers from 0 to {MAX_LABELS - 1:,} as labels, got "
                f"{values[row]} in row {row}"
            )
    return values.astype(np.int64)


def text_labels(values: Sequence[str], where: str) -> tuple[np.ndarray, tuple[str, ...]]:
    """Return labels (n,) int64 and their names, from labels written as text.

    The labels number the different texts in sorted order; whole numbers by their value.

    Raises:
        DataError: an empty label, or numbers that ``integer_labels`` refuses.
    """
    stripped = [value.strip() for value in values]
    if "" in stripped:
        raise DataError(
            f"{where}: expected a label in every row, row {stripped.index('')} is empty"
        )
    if all(_INTEGER.fullmatch(value) for value in stripped):
        return numbered(integer_labels(np.array([int(v) for v in stripped], np.int64), where))
    names, labels = np.unique(np.array(stripped), return_inverse=True)
    return labels.astype(np.int64), tuple(str(name) for name in names)


def numbered(labels: np.ndarray) -> tuple[np.ndarray, tuple[str, ...]]:
    """Number labels (n,) without gaps, and name each by the number that it had.

    Labels 0, 5 and 10 are three and not eleven: a model would get outputs that nobody trains.
    """
    present, places = np.unique(labels, return_inverse=True)
    return places.astype(np.int64), tuple(str(label) for label in present.tolist())


def same_length(where: str, **arrays: np.ndarray) -> None:
    """Raise DataError unless the named arrays have the same number of rows."""
    if len({len(array) for array in arrays.values()}) > 1:
        got = ", ".join(f"{name} {len(array)}" for name, array in arrays.items())
        raise DataError(f"{where}: expected the same number of rows, got {got}")


def same_kind(first: np.ndarray, second: np.ndarray, where: str) -> None:
    """Raise DataError unless two arrays of inputs have one dtype, shape per row and form."""
    if (first.dtype, first.shape[1:]) != (second.dtype, second.shape[1:]):
        raise DataError(
            f"{where}: expected inputs of one kind, got {first.dtype} with rows of shape "
            f"{first.shape[1:]} and {second.dtype} with rows of shape {second.shape[1:]}"
        )
    if first.dtype == object and len(first) and len(second):
        forms = [" and ".join(x[0]) if isinstance(x[0], dict) else "text" for x in (first, second)]
        if forms[0] != forms[1]:
            raise DataError(f"{where}: expected inputs of one form, got {forms[0]}; {forms[1]}")


def group_names(values: np.ndarray, where: str) -> np.ndarray:
    """Return groups (n,) as an array of strings.

    Raises:
        DataError: neither integers nor strings, of another shape, or an empty name.
    """
    if values.dtype.kind not in "iuU" or values.ndim != 1:
        raise DataError(
            f"{where}: expected strings or integers of shape (rows,), got {values.dtype} of "
            f"shape {values.shape}"
        )
    names = np.array([str(value).strip() for value in values.tolist()], dtype=np.str_)
    if "" in names:
        row = int(np.argmax(names == ""))
        raise DataError(f"{where}: expected a group in every row, row {row} is empty")
    return names
