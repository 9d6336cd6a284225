"""The table of what frameworks take, from a result file of ``benchmarks/beside_flower.py``."""

import statistics
from collections.abc import Mapping
from typing import Any

from markdown_table import markdown_table

NAMES = {"bare": "a bare loop of PyTorch and PEFT", "polyrank": "PolyRank", "flower": "Flower {}"}


def by_way(result: Mapping[str, Any]) -> str:
    """Write a row for each way to run the same federation."""
    seconds = result["beside"]["seconds"]
    rows = []
    for way, name in NAMES.items():
        over = [a - b for a, b in zip(seconds[way], seconds["bare"], strict=True)]
        more = f"{statistics.median(over):.1f}" if way != "bare" else ""
        rows.append((name.format(result["beside"]["flower"]), ends(seconds[way]), more))
    head = ("", "seconds, start to end", "beyond the bare loop")
    told = f"Median of {len(seconds['bare'])} repeats in turn, with the least and the most."
    return f"{markdown_table(head, rows)}\n\n{told}"


def ends(values: list[float]) -> str:
    """Write the median, the least and the most."""
    return f"{statistics.median(values):.1f} ({min(values):.1f} to {max(values):.1f})"
