"""What a section of the page is made of, before it becomes HTML."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from polyrank.report.words import NOTHING, number

Trace = dict[str, Any]  # a trace, or a piece of layout, as plotly.js takes it
Cell = str | float | None


@dataclass(frozen=True)
class CsvData:
    """What a reader can download as CSV."""

    columns: Sequence[str]
    rows: Sequence[Sequence[Cell]]


@dataclass(frozen=True)
class Figure:
    """One chart: traces and layout are plain data, colours are names such as "@c0"."""

    key: str
    title: str
    caption: str  # one sentence in plain words
    traces: Sequence[Trace]
    layout: Trace
    data: CsvData
    wide: bool = False
    height: int = 320  # CSS pixels


@dataclass(frozen=True)
class Column:
    """A column of a sheet, and how its numbers are shown; text stays as it is."""

    title: str
    show: Callable[[Any], str] = number
    prose: bool = False  # long text: wraps, and takes what room there is

    def text(self, cell: Cell) -> str:
        """Return what a reader sees in a cell."""
        if cell is None:
            return NOTHING
        return cell if isinstance(cell, str) else self.show(cell)


@dataclass(frozen=True)
class Sheet:
    """One table; ``data`` is its CSV where that holds more than what is shown."""

    key: str
    caption: str
    columns: Sequence[Column]
    rows: Sequence[Sequence[Cell]]
    data: CsvData | None = None

    @property
    def filled(self) -> "Sheet":
        """The table without the columns that hold nothing in any row."""
        empty = (None, NOTHING)
        kept = [
            k for k in range(len(self.columns)) if any(row[k] not in empty for row in self.rows)
        ]
        rows = [[row[k] for k in kept] for row in self.rows]
        return replace(self, columns=[self.columns[k] for k in kept], rows=rows)

    @property
    def download(self) -> CsvData:
        """The table's data, in full precision."""
        shown = self.filled
        return self.data or CsvData([column.title for column in shown.columns], shown.rows)


@dataclass(frozen=True)
class Tile:
    """One number that a reader looks for first."""

    title: str
    value: str
    hint: str = ""


@dataclass(frozen=True)
class Note:
    """A sentence of its own; ``warning`` makes it stand out."""

    text: str
    warning: bool = False


Part = Figure | Sheet | Note | Sequence[Tile]


@dataclass(frozen=True)
class Section:
    """A part of the page with a heading of its own."""

    key: str
    title: str
    lead: str
    parts: Sequence[Part]
