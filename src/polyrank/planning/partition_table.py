"""A partition as a table for people and as plain numbers for programs."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table
from rich.text import Text

from polyrank.datasets.data import Data
from polyrank.partitioners.splits import ClientRows, Splits
from polyrank.plain import one_line

MAX_CLIENTS = 40

_BARS = " ▁▂▃▄▅▆▇█"
_ASCII_BARS = " .:-=+*#@"
_MAX_NAME = 16
_LEFT = ("client", "train", "test", "labels")


def as_json(splits: Splits, data: Data) -> dict[str, Any]:
    """Return the partition as numbers that ``json.dumps`` takes.

    Returns:
        ``source``; ``label_names`` (C); ``empty_labels``; ``clients``: for each its ``name``,
        ``train`` and ``test`` rows, and their ``train_labels`` and ``test_labels`` (C counts
        each); ``public``, ``validation``, ``left_out`` and ``test``: ``rows`` and ``labels``.
    """
    return {
        "source": data.source,
        "label_names": list(data.label_names),
        "empty_labels": list(data.empty_labels),
        "clients": [
            {
                "name": client.name,
                "train": len(client.train),
                "test": len(client.test),
                "train_labels": _counts(data, data.train_y[client.train]).tolist(),
                "test_labels": _counts(data, data.train_y[client.test]).tolist(),
            }
            for client in splits.clients
        ],
        "public": _part(data, data.train_y[splits.public]),
        "validation": _part(data, data.train_y[splits.validation]),
        "left_out": _part(data, data.train_y[splits.left_out]),
        "test": _part(data, data.test_y),
    }


def print_partition(splits: Splits, data: Data, console: Console) -> None:
    """Print clients x labels, as counts if they fit the console's width, else as bars.

    A bar is as high as the label's share of the client's most frequent label. If there are
    more labels than columns, neighbours share one bar; above 40 clients, 40 are shown, from
    the smallest to the largest. A note below the table says so.
    """
    ascii_only = console.options.ascii_only
    shown = _shown(splits.clients)
    counts = np.stack([_counts(data, data.train_y[client.train]) for client in shown])
    names = [_name(client.name, ascii_only) for client in shown]
    room = console.width - _left_width(names, shown)
    digits = max(len(f"{counts.max()}"), len(f"{len(data.label_names) - 1}"))
    notes = []
    if len(shown) < len(splits.clients):
        notes.append(f"{len(shown)} of {len(splits.clients)} clients, smallest to largest")
    if len(data.label_names) * (digits + 1) <= room:
        headers = [f"{c}" for c in range(len(data.label_names))]
        cells = [[_shaded(n, row.max(), ascii_only) for n in row] for row in counts]
    else:
        merged, per_bar = _merge(counts, max(1, room))
        headers = [f"0..{len(data.label_names) - 1}"]
        cells = [[_bars(row, ascii_only)] for row in merged]
        notes.append("bar: label's rows relative to the client's most frequent label")
        if per_bar > 1:
            notes.append(f"one bar for {per_bar} labels")
    console.print(_table(names, shown, counts, headers, cells))
    for line in (*notes, *_summary(splits, data)):
        console.print(Text(_encodable(line, ascii_only)))


def _counts(data: Data, labels: np.ndarray) -> np.ndarray:
    return np.bincount(labels, minlength=len(data.label_names))


def _part(data: Data, labels: np.ndarray) -> dict[str, Any]:
    return {"rows": len(labels), "labels": _counts(data, labels).tolist()}


def _shown(clients: Sequence[ClientRows]) -> list[ClientRows]:
    """Return all clients in order, or 40 of them evenly spaced from smallest to largest."""
    if len(clients) <= MAX_CLIENTS:
        return list(clients)
    by_size = sorted(clients, key=lambda client: len(client.train))
    places = np.linspace(0, len(by_size) - 1, MAX_CLIENTS).round().astype(int)
    return [by_size[place] for place in places]


def _merge(counts: np.ndarray, width: int) -> tuple[np.ndarray, int]:
    """Add up neighbouring labels so that at most ``width`` columns are left."""
    per_bar = -(-counts.shape[1] // width)
    starts = np.arange(0, counts.shape[1], per_bar)
    return np.add.reduceat(counts, starts, axis=1), per_bar


def _left_width(names: Sequence[Text], shown: Sequence[ClientRows]) -> int:
    """Return how many columns of the console stand left of the labels."""
    name = max(text.cell_len for text in names)
    train = len(f"{max(len(client.train) for client in shown)}")
    test = len(f"{max(len(client.test) for client in shown)}")
    widths = zip(_LEFT, (name, train, test, 1), strict=True)
    return sum(max(len(header), width) + 1 for header, width in widths)


def _encodable(text: str, ascii_only: bool) -> str:
    text = one_line(text)
    return text.encode("ascii", "backslashreplace").decode() if ascii_only else text


def _name(name: str, ascii_only: bool) -> Text:
    text = Text(_encodable(name, ascii_only), style="bold")
    text.truncate(_MAX_NAME, overflow="crop" if ascii_only else "ellipsis")
    return text


def _shaded(count: int, largest: int, ascii_only: bool) -> Text:
    """Return a count on a ground that is the stronger the larger its share of ``largest``."""
    if not count:
        return Text("." if ascii_only else "·", style="dim")
    strength = round(40 + 140 * count / largest)
    return Text(f"{count}", style=f"white on rgb(20,{strength // 2},{strength})")


def _bars(row: np.ndarray, ascii_only: bool) -> Text:
    """Draw counts as bars; what is there at all gets at least the smallest bar."""
    bars = _ASCII_BARS if ascii_only else _BARS
    heights = np.ceil(row / max(1, row.max()) * (len(bars) - 1)).astype(int)
    return Text("".join(bars[height] for height in heights))


def _table(
    names: Sequence[Text],
    shown: Sequence[ClientRows],
    counts: np.ndarray,
    headers: Sequence[str],
    cells: Sequence[Sequence[Text]],
) -> Table:
    table = Table(box=None, padding=(0, 1, 0, 0), pad_edge=False)
    table.add_column(_LEFT[0], no_wrap=True)
    for header in (*_LEFT[1:], *headers):
        table.add_column(header, justify="right", no_wrap=True)
    if len(headers) == 1:
        table.columns[-1].justify = "left"
    for name, client, row, drawn in zip(names, shown, counts, cells, strict=True):
        numbers = (len(client.train), len(client.test), np.count_nonzero(row))
        table.add_row(name, *(f"{n}" for n in numbers), *drawn)
    return table


def _summary(splits: Splits, data: Data) -> list[str]:
    """Say in words what the table does not show."""
    sizes = np.array([len(client.train) for client in splits.clients])
    lines = [
        f"{len(sizes)} clients, training rows: smallest {sizes.min()}, median "
        f"{np.median(sizes):g}, largest {sizes.max()}",
        f"public {len(splits.public)}, validation {len(splits.validation)}, left out "
        f"{len(splits.left_out)}, test {len(data.test_y)} rows",
    ]
    if data.empty_labels:
        first = ", ".join(data.label_names[c] for c in data.empty_labels[:10])
        more = len(data.empty_labels) - 10
        lines.append(f"labels without training rows: {first}" + (f" and {more} more" * (more > 0)))
    return lines
