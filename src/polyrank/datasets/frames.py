"""Tables as named columns of texts or numbers, from a CSV or Parquet file or a data frame."""

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np

from polyrank.datasets import checks
from polyrank.datasets.columns import IS, MISSING
from polyrank.datasets.csv import read_rows
from polyrank.errors import DataError

Frame: TypeAlias = Mapping[str, np.ndarray]  # (n,): float64 with NaN, or texts, "" for nothing

_DAY = np.timedelta64(1, "D")


def read_frame(path: str) -> Frame:
    """Read a file of one table: CSV with a header, gzipped or not, or Parquet.

    Raises:
        DataError: it is missing, damaged or empty, a column has no name or the name of another,
            or pandas is not installed, which reads Parquet.
    """
    file = checks.existing_file(path)
    return _parquet(file) if file.suffix.lower() == ".parquet" else _csv(file)


def frame_of(table: Any, where: str) -> Frame:  # noqa: ANN401 - pandas is not imported
    """Take the columns of a data frame of pandas.

    Truth values and durations become numbers, times days since 1970-01-01, all else texts.

    Raises:
        DataError: no rows, or a column has no name or the name of another.
    """
    names = [str(name) for name in table.columns]
    _check_names(names, where)
    if not len(table):
        raise DataError(f"{where}: expected at least one row, got none")
    return {name: _column(table.iloc[:, place]) for place, name in enumerate(names)}


def is_frame(table: object) -> bool:
    """Tell whether something is a data frame of pandas."""
    return all(hasattr(table, name) for name in ("columns", "dtypes", "iloc"))


def _csv(path: Path) -> Frame:
    rows: Iterator[list[str]] = read_rows(path)
    names = next(rows, [])
    if len(names) == 1 and (marks := [mark for mark in (";", "\t", "|") if mark in names[0]]):
        raise DataError(f"{path}: expected commas between columns, got {marks[0]!r}")
    _check_names(names, str(path))
    columns = list(zip(*rows, strict=True))
    if not columns:
        raise DataError(f"{path}: expected at least one row below the header, got none")
    pairs = zip(names, columns, strict=True)
    return {name: _texts(column) for name, column in pairs}


def _parquet(path: Path) -> Frame:
    try:
        from pandas import read_parquet
        from pyarrow import ArrowException
    except ImportError as error:
        raise DataError(
            f"{path}: needs the packages 'pandas' and 'pyarrow': pip install 'polyrank[tables]'"
        ) from error
    try:
        table = read_parquet(path, engine="pyarrow")
    except (OSError, ValueError, ArrowException) as error:
        raise DataError(f"{path}: cannot be read as Parquet: {error}") from error
    return frame_of(table, str(path))


def _check_names(names: list[str], where: str) -> None:
    for place, name in enumerate(names):
        if not name.strip() or name.startswith("Unnamed: "):
            raise DataError(
                f"{where}: column {place + 1} has no name, as an index has that pandas wrote: "
                "write the file with index=False, or name the column"
            )
        if IS in name or name.endswith(MISSING):
            raise DataError(
                f"{where}: column {name!r}: expected a name without {IS!r} and {MISSING!r}, by "
                "which the inputs that categories become are told apart"
            )
        if name in names[:place]:
            raise DataError(f"{where}: expected columns of different names, got {name!r} twice")
    if not names:
        raise DataError(f"{where}: expected a header with the names of columns, got nothing")


def _column(values: Any) -> np.ndarray:  # noqa: ANN401 - a series of pandas
    kind = getattr(values.dtype, "kind", "O")
    if kind in "iufb":
        return np.asarray(values.to_numpy(dtype=np.float64, na_value=np.nan))
    if kind in "mM":
        plain = values if kind == "m" or values.dt.tz is None else values.dt.tz_convert(None)
        times = plain.to_numpy()
        start = np.datetime64(0, "D") if kind == "M" else np.timedelta64(0, "D")
        return np.asarray((times - start) / _DAY, dtype=np.float64)
    missing = np.asarray(values.isna())
    return _texts("" if lost else str(v) for v, lost in zip(values, missing, strict=True))


def _texts(values: Iterable[str]) -> np.ndarray:
    """Return texts (n,) as objects, so that one long text does not make all others long."""
    return np.array([value.strip() for value in values], dtype=object)
