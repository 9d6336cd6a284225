"""Sections as HTML. Every text is escaped here, and only here."""

import html
import json
import math
from collections.abc import Sequence

from polyrank.report.parts import Cell, Column, CsvData, Figure, Note, Part, Section, Sheet, Tile


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
    inner = "".join(_part(piece, prefix, level + 1) for piece in part.parts)
    return (
        f'<section aria-labelledby="{key}"><h{level} id="{key}">{escape(part.title)}</h{level}>'
        f'<p class="lead">{escape(part.lead)}</p><div class="grid">{inner}</div></section>\n'
    )


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
    return (
        f'<div class="card wide"><h{level}>{caption}</h{level}>'
        f'<div class="scroll" role="region" tabindex="0" aria-label="{caption}">'
        f'<table><caption class="unseen">{caption}</caption>'
        f"<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>"
        f"{_download(key, sheet.caption)}</div>"
    )


def _head(sheet: Sheet, index: int) -> str:
    numbers = index > 0 and not any(isinstance(row[index], str) for row in sheet.rows)
    kind = ' class="number"' if numbers else ""
    title = escape(sheet.columns[index].title)
    return f'<th scope="col"{kind}><button type="button" class="sort">{title}</button></th>'


def _row(columns: Sequence[Column], row: Sequence[Cell]) -> str:
    first = f'<th scope="row">{escape(columns[0].text(row[0]))}</th>'
    cells = zip(columns[1:], row[1:], strict=True)
    return f"<tr>{first}{''.join(_cell(column, cell) for column, cell in cells)}</tr>"


def _cell(column: Column, cell: Cell) -> str:
    text = escape(column.text(cell))
    if isinstance(cell, str):
        return f'<td class="prose">{text}</td>' if column.prose else f"<td>{text}</td>"
    value = "" if cell is None else f' data-value="{cell!r}"'
    return f'<td class="number"{value}>{text}</td>'


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
