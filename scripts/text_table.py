"""Tables of accuracies from a result file of ``benchmarks/text_federation.py``."""

import statistics
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from markdown_table import markdown_table, percent

Run = Mapping[str, Any]
COLUMNS: Mapping[str, Callable[[Run], float]] = {
    "before training": lambda run: next(iter(run["test_accuracy"].values())),
    "test rows": lambda run: list(run["test_accuracy"].values())[-1],
    "own rows, global model": lambda run: run["own_rows"]["global"],
    "own rows, personal models": lambda run: run["own_rows"]["personal"],
}
GLOBAL = ("before training", "test rows", "own rows, global model")
SPREAD = "Mean ± standard deviation over the seeds, in points of accuracy."
HEAD = ("data", "arm", *COLUMNS, "up", "down", "seeds")


def controls(result: Mapping[str, Any]) -> str:
    """Write the federations and what they are compared with."""
    lines = [
        row(data, arm, list(seeds.values()))
        for data, arm, seeds in arms(result)
        if data == "pooled" or arm in result["controls"]
    ]
    return f"{result['title']}:\n\n{markdown_table(HEAD, lines)}\n\n{SPREAD}"


def steps(result: Mapping[str, Any]) -> list[str]:
    """Write the steps to the best, one rank for all, and the best below, if there are any.

    A step is an arm that is no control.
    """
    found = [
        (data, arm, list(seeds.values())) for data, arm, seeds in arms(result) if data != "pooled"
    ]
    less = [row(*each) for each in found if each[1] not in result["controls"]]
    where = {data for data, arm, _ in found if arm not in result["controls"]}
    best = [row(*each) for each in found if each[0] in where and each[1].startswith("uniform")]
    return [f"{markdown_table(HEAD, [*less, *best])}\n\n{SPREAD}"] if less else []


def arms(result: Mapping[str, Any]) -> Iterator[tuple[str, str, Mapping[str, Run]]]:
    """Yield federation, arm, and its runs by seed."""
    for data, found in result["texts"].items():
        for arm, seeds in found.items():
            yield data, arm, seeds


def row(data: str, arm: str, runs: Sequence[Run]) -> tuple[str, ...]:
    """Write one arm; ``alone`` has no global model, ``pooled`` no clients and sends nothing."""
    cells = []
    for name, of in COLUMNS.items():
        none = (arm == "alone" and name in GLOBAL) or (data == "pooled" and name.startswith("own"))
        cells.append("" if none else percent([of(run) for run in runs]))
    for way in ("up", "down"):
        megabytes = statistics.mean(run["bytes"][way] for run in runs) / 1e6
        cells.append("" if arm in ("alone", "pooled") else f"{megabytes:.1f} MB")
    return (data, arm, *cells, str(len(runs)))
