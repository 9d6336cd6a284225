"""The table of what eight bits cost, from a result file of ``benchmarks/compression.py``."""

import statistics
from collections.abc import Mapping
from typing import Any

from markdown_table import markdown_table, spread

HEAD = ("data", "arm", "`none`", "`int8`", "difference", "up, MB", "down, MB")


def by_arm(result: Mapping[str, Any]) -> str:
    """Write a row for each data set and arm: means over the seeds."""
    rows = [
        row(data, arm, found)
        for data, arms in result["compression"].items()
        for arm, found in arms.items()
    ]
    seeds = {len(of["none"]) for arms in result["compression"].values() for of in arms.values()}
    told = (
        f"Mean ± standard deviation over {' or '.join(map(str, seeds))} seeds, in points of "
        "accuracy; the difference is between runs of one seed. Megabytes of all rounds, `none` and "
        "`int8`."
    )
    return f"{markdown_table(HEAD, rows)}\n\n{told}"


def row(data: str, arm: str, found: Mapping[str, Mapping[str, Any]]) -> tuple[str, ...]:
    """Write one arm with and without."""
    whole, small = found["none"], found["int8"]
    points = [[100 * run["test_accuracy"] for run in of.values()] for of in (whole, small)]
    change = [small - whole for whole, small in zip(*points, strict=True)]
    return (
        data.replace("_", " "),
        arm,
        spread(points[0]),
        spread(points[1]),
        spread(change, sign="+"),
        *(f"{megabytes(whole, way)}, {megabytes(small, way)}" for way in ("up", "down")),
    )


def megabytes(of: Mapping[str, Any], way: str) -> str:
    """Write the mean of what was sent one way."""
    return f"{statistics.mean(run['bytes'][way] for run in of.values()) / 1e6:.2f}"
