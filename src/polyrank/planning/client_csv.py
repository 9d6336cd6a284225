"""Read a CSV file of clients, one row each, in one pass and with little memory."""

import csv
from collections.abc import Iterator
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from typing import Any, TextIO

import numpy as np
from numpy.typing import NDArray

from polyrank.client_names import fault_of_name
from polyrank.errors import DataError

CLIENT, MAX_RANK = "client", "max_rank"
NO_CAP = str(2**31 - 1)  # what an empty cell of max_rank stands for
ROWS_AT_ONCE = 500  # thousands at once live long enough to double the garbage collector's work

Row = list[str]
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class ClientTable:
    """Clients as read.

    Args:
        clients: n ids in the order of the file.
        criteria: column name -> (n,) finite values, in the order of the header.
        caps: (n,) the column ``max_rank``, or None without one.
    """

    clients: list[str]
    criteria: dict[str, Floats]
    caps: NDArray[np.int64] | None


def clients_of_frame(table: Any) -> ClientTable:  # noqa: ANN401 - a data frame of pandas
    """Read clients, their criteria and their largest ranks from a data frame.

    The columns are those of a file, see ``read_clients``; an index named ``client`` is a column.

    Raises:
        DataError: a cell cannot be used; the message names its line, the header being line 1.
    """
    whole = table.reset_index() if table.index.name == CLIENT else table
    return _read(StringIO(whole.to_csv(index=False)), Path("data frame"))


def read_clients(path: Path) -> ClientTable:
    """Read clients, their criteria and their largest ranks.

    The first line names the columns: ``client``, at least one numeric column, and perhaps
    ``max_rank``, whose empty cells mean no cap. Comma-separated UTF-8, with or without a byte
    order mark; blank lines are skipped.

    Raises:
        DataError: the file cannot be read, or a cell cannot be used; the message names the
            file, the line, the column and the value.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            return _read(file, path)
    except UnicodeDecodeError as error:
        line = _undecodable_line(path)
        raise DataError(f"{path}, line {line}: expected UTF-8 text, got other bytes") from error
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror}") from error


def _read(file: TextIO, path: Path) -> ClientTable:
    batches = _batches(file, path)
    ((_, header),) = next(batches, [(1, [])])
    names = _checked_header(header, path)
    clients: list[str] = []
    seen: set[str] = set()
    parts: dict[str, list[Floats]] = {name: [] for name in names if name != CLIENT}
    for batch in batches:
        columns = _columns(batch, names)
        if columns is None or not _take_ids(columns[names.index(CLIENT)], clients, seen):
            raise _fault(batch, names, seen, path)
        for name, column in zip(names, columns, strict=True):
            if name != CLIENT:
                values = _floats(column, name)
                if values is None:
                    raise _fault(batch, names, set(), path)
                parts[name].append(values)
    if not clients:
        raise DataError(f"{path}: expected one row per client below the header, got none")
    criteria = {name: np.concatenate(parts.pop(name)) for name in list(parts)}
    caps = criteria.pop(MAX_RANK, None)
    return ClientTable(clients, criteria, None if caps is None else caps.astype(np.int64))


def _batches(file: TextIO, path: Path) -> Iterator[list[tuple[int, Row]]]:
    """Yield the header alone, then rows in batches, each with the line it begins on."""
    reader = csv.reader(file, strict=True)
    batch: list[tuple[int, Row]] = []
    end, wanted = 0, 1
    try:
        for row in reader:
            if row:
                batch.append((end + 1, row))
            end = reader.line_num
            if len(batch) == wanted:
                yield batch
                batch, wanted = [], ROWS_AT_ONCE
    except csv.Error as error:
        raise DataError(f"{path}, line {reader.line_num}: not readable as CSV: {error}") from error
    if batch:
        yield batch


def _checked_header(header: Row, path: Path) -> list[str]:
    names = [name.strip() for name in header]
    where = f"{path}, line 1"
    if CLIENT not in names:
        hint = "" if len(names) > 1 else " (columns are separated by commas)"
        raise DataError(f"{where}: expected a column {CLIENT!r}, got {', '.join(names)!r}{hint}")
    for at, name in enumerate(names):
        if not name or name in names[:at]:
            raise DataError(f"{where}: expected a new name for column {at + 1}, got {name!r}")
    if not set(names) - {CLIENT, MAX_RANK}:
        raise DataError(f"{where}: expected at least one numeric column beside {CLIENT!r}")
    return names


def _columns(batch: list[tuple[int, Row]], names: list[str]) -> list[tuple[str, ...]] | None:
    """Turn rows into columns, or return None where a row has the wrong number of cells."""
    if {len(row) for _, row in batch} != {len(names)}:
        return None
    return list(zip(*(row for _, row in batch), strict=True))


def _take_ids(ids: tuple[str, ...], clients: list[str], seen: set[str]) -> bool:
    """Add ids to ``clients`` and ``seen``; False, with nothing added, where one cannot be."""
    fresh = set(ids)
    if len(fresh) < len(ids) or not seen.isdisjoint(fresh) or any(map(fault_of_name, fresh)):
        return False
    clients.extend(ids)
    seen |= fresh
    return True


def _floats(cells: tuple[str, ...], name: str) -> Floats | None:
    """Turn a column of cells into numbers, or return None where one is no good."""
    if name == MAX_RANK:
        cells = tuple(cell if cell.strip() else NO_CAP for cell in cells)
    try:
        values = np.array(list(map(float, cells)))
    except ValueError:
        return None
    good = np.isfinite(values).all() and "_" not in "".join(cells)
    if name == MAX_RANK:
        good &= bool(((values >= 1) & (values == np.floor(values)) & (values < 2**31)).all())
    return values if good else None


def _fault(batch: list[tuple[int, Row]], names: list[str], seen: set[str], path: Path) -> DataError:
    """Find the first bad cell of a batch that has one; ``seen`` holds the ids before it."""
    known = set(seen)
    for line, row in batch:
        if len(row) != len(names):
            return DataError(f"{path}, line {line}: expected {len(names)} cells, got {len(row)}")
        for name, cell in zip(names, row, strict=True):
            wrong = fault_of_name(cell) if name == CLIENT and cell.strip() else None
            if wrong:
                return DataError(f"{path}, line {line}, column {name!r}: {wrong}")
            expected = _expected_id(cell, known) if name == CLIENT else _expected_number(cell, name)
            if expected:
                return DataError(
                    f"{path}, line {line}, column {name!r}: expected {expected}, got {cell!r}"
                )
        known.add(row[names.index(CLIENT)])
    return DataError(f"{path}, line {batch[0][0]}: this row or one after it cannot be read")


def _expected_id(cell: str, known: set[str]) -> str:
    if not cell.strip():
        return "a client id"
    return "each client once" if cell in known else ""


def _expected_number(cell: str, name: str) -> str:
    if _floats((cell,), name) is not None:
        return ""
    return "a whole number from 1 up" if name == MAX_RANK else "a finite number"


def _undecodable_line(path: Path) -> int:
    with path.open("rb") as file:
        return next((at for at, line in enumerate(file, start=1) if not _is_utf8(line)), 1)


def _is_utf8(line: bytes) -> bool:
    try:
        line.decode()
    except UnicodeDecodeError:
        return False
    return True
