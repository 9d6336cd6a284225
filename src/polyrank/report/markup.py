"""Sections as HTML. Every text is escaped here, and only here."""

import html
import json
import math
import re
from collections.abc import Sequence

from polyrank.report.parts import (
    Cell,
    Column,
    CsvData,
    Figure,
    Marked,
    Note,
    Part,
    Section,
    Sheet,
    Tile,
    plain_cell,
)

SHORT = 24  # characters of a name that stays in one line
MANY_ROWS = 30  # a longer table scrolls within its card


def escape(text: str) -> str:
    """Return ``text`` safe between tags and inside quoted attributes."""
    return html.escape(text, quote=True)


def json_in_script(value: object) -> str:
    """Return JSON that cannot end the script element it stands in."""
    text = json.dumps(_finite(value), ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    for character in "<>&\u2028\u2029":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return text


def section(part: Section, prefix: str, level: int) -> str:
    """Return a section with its heading at ``level``; ids start with ``prefix``."""
    key = f"{prefix}{part.key}"
    folded = [p for p in part.parts if isinstance(p, Figure | Sheet) and p.folded]
    inner = "".join(_part(p, prefix, level + 1) for p in part.parts if p not in folded)
    return (
        f'<section aria-labelledby="{key}"><h{level} id="{key}">{escape(part.title)}</h{level}>'
        f'<p class="lead">{escape(part.lead)}</p><div class="grid">{inner}</div>'
        f"{_folded(folded, prefix, level + 1)}</section>\n"
    )


def _folded(parts: Sequence[Figure | Sheet], prefix: str, level: int) -> str:
    if not parts:
        return ""
    titles = [part.title if isinstance(part, Figure) else part.caption for part in parts]
    named = ", ".join([titles[0], *(title[:1].lower() + title[1:] for title in titles[1:])])
    inner = "".join(_part(piece, prefix, level) for piece in parts)
    said = f"<summary>More: {escape(named)}</summary>"
    return f'<details class="more">{said}<div class="grid">{inner}</div></details>'


def _part(part: Part, prefix: str, level: int) -> str:
    if isinstance(part, Figure):
        return _figure(part, prefix, level)
    if isinstance(part, Sheet):
        return _sheet(part, prefix, level)
    if isinstance(part, Note):
        kind = ' class="wide warning" role="note"' if part.warning else ' class="wide"'
        return f"<p{kind}>{escape(part.text)}</p>"
    return f'<dl class="tiles wide">{"".join(_tile(tile) for tile in part)}</dl>'


def _tile(tile: Tile) -> str:
    hint = f'<dd class="hint">{escape(tile.hint)}</dd>' if tile.hint else ""
    return f"<div><dt>{escape(tile.title)}</dt><dd>{escape(tile.value)}</dd>{hint}</div>"


def _figure(figure: Figure, prefix: str, level: int) -> str:
    key = f"{prefix}{figure.key}"
    label = escape(f"Chart. {figure.title}. {figure.caption}")
    return (
        f'<figure class="card{" wide" if figure.wide else ""}">'
        f"<h{level}>{escape(figure.title)}</h{level}>"
        f"<figcaption>{escape(figure.caption)}</figcaption>"
        f'<div class="chart" id="{key}-chart" data-figure="{key}" role="group" aria-label="{label}"'
        f' style="height:{figure.height}px"></div>{_download(key, figure.title)}</figure>'
    )


def _download(key: str, title: str) -> str:
    label = escape(f"Download the data of: {title} (CSV)")
    return f'<button type="button" data-csv="{key}" aria-label="{label}">Download CSV</button>'


def _sheet(sheet: Sheet, prefix: str, level: int) -> str:
    sheet, key, caption = sheet.filled, f"{prefix}{sheet.key}", escape(sheet.caption)
    head = "".join(_head(sheet, index) for index in range(len(sheet.columns)))
    body = "".join(_row(sheet.columns, row) for row in sheet.rows)
    kind = "scroll long" if len(sheet.rows) > MANY_ROWS else "scroll"
    return (
        f'<div class="card wide"><h{level}>{caption}</h{level}>'
        f'<div class="{kind}" role="region" tabindex="0" aria-label="{caption}">'
        f'<table><caption class="unseen">{caption}</caption>'
        f"<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>"
        f"{_download(key, sheet.caption)}</div>"
    )


def _head(sheet: Sheet, index: int) -> str:
    cells = [plain_cell(row[index]) for row in sheet.rows]
    numbers = index > 0 and not any(isinstance(cell, str) for cell in cells)
    kind = ' class="number"' if numbers else ""
    title = escape(sheet.columns[index].title)
    return f'<th scope="col"{kind}><button type="button" class="sort">{title}</button></th>'


def _row(columns: Sequence[Column], row: Sequence[Cell]) -> str:
    name = columns[0].text(row[0])
    short = ' class="short"' if len(name) <= SHORT else ""
    first = f'<th scope="row"{short}>{_breakable(name)}</th>'
    cells = zip(columns[1:], row[1:], strict=True)
    return f"<tr>{first}{''.join(_cell(column, cell) for column, cell in cells)}</tr>"


def _cell(column: Column, cell: Cell) -> str:
    kinds, held = [], plain_cell(cell)
    text = column.text(cell)
    text = escape(text) if column.prose else _breakable(text)
    if isinstance(cell, Marked):
        text += f" <small>{escape(cell.note)}</small>" if cell.note else ""
        kinds += ["marked", "best"] if cell.best else ["marked"]
    kinds += ["prose"] if column.prose else ["text"] if isinstance(held, str) else ["number"]
    value = "" if held is None or isinstance(held, str) else f' data-value="{held!r}"'
    title = escape(column.title)
    return f'<td class="{" ".join(kinds)}"{value} data-title="{title}">{text}</td>'


def _breakable(text: str) -> str:
    """Return text that may go on in the next line after the parts of a name, and not within."""
    return re.sub(r"(?<=\w)([_/.])(?=[a-zA-Z])", r"\1<wbr>", escape(text))


def data_of(parts: Sequence[Part], prefix: str) -> dict[str, CsvData]:
    """Return what can be downloaded, by the key its button carries."""
    figures = {f"{prefix}{part.key}": part.data for part in parts if isinstance(part, Figure)}
    sheets = {f"{prefix}{part.key}": part.download for part in parts if isinstance(part, Sheet)}
    return figures | sheets


def _finite(value: object) -> object:
    if isinstance(value, dict):
        return {name: _finite(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
