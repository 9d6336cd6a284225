"""The table of ranks planned from a run by need, from a file of ``benchmarks/planned.py``."""

import statistics
import textwrap
from collections.abc import Mapping
from typing import Any

from data_names import NAMES
from markdown_table import markdown_table, percent, spread

ARMS = {"uniform": "one rank for all, as planned", "ratio": "ranks by client, as planned"}
Seeds = Mapping[str, Mapping[str, Any]]


def by_federation(result: Mapping[str, Any]) -> str:
    """Write a row a federation: the run by need, and what fixed ranks planned from it reach."""
    rows = [row(data, seeds) for data, seeds in result["planned"].items()]
    head: tuple[str, ...] = ("data", "by need", "MB")
    for arm in ARMS.values():
        head += (arm, "points", "of its bytes")
    many = {len(seeds) for seeds in result["planned"].values()}
    told = (
        f"Test accuracy of the run by need, over {' or '.join(map(str, sorted(many)))} seeds; then "
        "the planned ranks, and what runs with them gain over it, seed by seed: mean ± standard "
        "deviation, at their share of its bytes."
    )
    return f"{markdown_table(head, rows)}\n\n{textwrap.fill(told, 120)}"


def row(data: str, seeds: Seeds) -> tuple[str, ...]:
    """Write one federation."""
    needs = [of["need"] for of in seeds.values()]
    cells = [NAMES[data], percent([run["accuracy"] for run in needs])]
    sent = statistics.mean(run["bytes"] for run in needs)
    cells.append(f"{sent / 1e6:.1f}")
    planned = {
        "uniform": [of["rank"] for of in seeds.values()],
        "ratio": [rank for of in seeds.values() for rank in of["ranks"]],
    }
    for arm in ARMS:
        runs = [of[arm] for of in seeds.values()]
        gains = [
            100 * (run["accuracy"] - by_need["accuracy"])
            for run, by_need in zip(runs, needs, strict=True)
        ]
        share = statistics.mean(run["bytes"] for run in runs) / sent
        cells += [span(planned[arm]), spread(gains, sign="+"), f"{share:.2f}"]
    return tuple(cells)


def span(ranks: list[int]) -> str:
    """Write the least and the largest rank."""
    least, most = min(ranks), max(ranks)
    return str(least) if least == most else f"{least} to {most}"
