"""What a section of the page is made of, before it becomes HTML."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from polyrank.report.words import NOTHING, number

Trace = dict[str, Any]  # a trace, or a piece of layout, as plotly.js takes it


@dataclass(frozen=True)
class Marked:
    """A cell with something beside it.

    Attributes:
        cell: text or number, as without.
        note: what stands after it, smaller; may be empty.
        best: whether it is the best of its column.
    """

    cell: str | float | None
    note: str = ""
    best: bool = False


Cell = str | float | Marked | None


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
    folded: bool = False  # shown when a reader asks for more


@dataclass(frozen=True)
class Column:
    """A column of a sheet, and how its numbers are shown; text stays as it is."""

    title: str
    show: Callable[[Any], str] = number
    prose: bool = False  # long text: wraps, and takes what room there is

    def text(self, cell: Cell) -> str:
        """Return what a reader sees in a cell."""
        cell = plain_cell(cell)
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
    folded: bool = False

    @property
    def filled(self) -> "Sheet":
        """The table without the columns that hold nothing in any row."""
        empty = (None, NOTHING)
        kept = [
            k
            for k in range(len(self.columns))
            if any(plain_cell(row[k]) not in empty for row in self.rows)
        ]
        rows = [[row[k] for k in kept] for row in self.rows]
        return replace(self, columns=[self.columns[k] for k in kept], rows=rows)

    @property
    def download(self) -> CsvData:
        """The table's data, in full precision."""
        shown = self.filled
        rows = [[plain_cell(cell) for cell in row] for row in shown.rows]
        return self.data or CsvData([column.title for column in shown.columns], rows)

    @property
    def differing(self) -> "Sheet":
        """The table without the columns that are the same in all of several rows.

        What they hold is said in the caption.
        """
        if len(self.rows) < 2:
            return self
        shown = self.filled
        same = [
            k
            for k in range(1, len(shown.columns))
            if len({plain_cell(row[k]) for row in shown.rows}) == 1
        ]
        kept = [k for k in range(len(shown.columns)) if k not in same]
        told = [f"{shown.columns[k].title} {shown.columns[k].text(shown.rows[0][k])}" for k in same]
        caption = f"{self.caption}. The same in all: {', '.join(told)}" if told else self.caption
        rows = [[row[k] for k in kept] for row in shown.rows]
        columns = [shown.columns[k] for k in kept]
        return replace(self, caption=caption, columns=columns, rows=rows)


def plain_cell(cell: Cell) -> str | float | None:
    """Return what a cell holds, without what stands beside it."""
    return cell.cell if isinstance(cell, Marked) else cell


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
