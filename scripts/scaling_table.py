"""The table of what alpha / r does to RBLA, from a result file of ``benchmarks/scaling.py``."""

from collections.abc import Mapping, Sequence
from typing import Any

from markdown_table import markdown_table, percent

Run = Mapping[str, Any]
NAMES = {"constant 1": "1", "2 per rank": "2 / r"}


def by_order(result: Mapping[str, Any]) -> str:
    """Write a row for each scaling, a column for each order of the ranks."""
    runs: Sequence[Run] = result["scaling"]["runs"]
    orders = list(dict.fromkeys(run["order"] for run in runs))
    rows = []
    for scaling, name in NAMES.items():
        of = {
            order: [r for r in runs if (r["scaling"], r["order"]) == (scaling, order)]
            for order in orders
        }
        rates = ", ".join(f"{of[order][0]['learning_rate']:g}" for order in orders)
        found = [[float(run["accuracy"]) for run in of[order]] for order in orders]
        rows.append((name, *map(percent, found), rates))
    seeds = len({run["seed"] for run in runs})
    head = ("s", *orders, "learning rates")
    told = (
        f"Mean ± standard deviation over {seeds} seeds of the accuracy on test rows, last 5 of "
        f"{len(runs[0]['rounds']) - 1} rounds."
    )
    return f"{markdown_table(head, rows)}\n\n{told}"
