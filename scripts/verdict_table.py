"""When ranks from data help: five federations, each against one rank for all of the same budget.

The difference is taken seed by seed. It is a gain or a loss where Student's 90 % interval of its
mean lies on one side of 0, and none otherwise.
"""

import statistics
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import language_table
from markdown_table import markdown_table, spread

from polyrank.intervals import Interval, interval

LAST = 5  # rounds whose mean accuracy is told
HEAD = ("clients", "ranks from data", "one rank for all", "seed by seed", "do they help?")
DIGITS = {
    "digits_staircase": "more labels, more rows: staircase (digits)",
    "digits_double_imbalance": "labels and sizes unequal, not together (digits)",
    "digits_label_skew": "a few labels each: Dirichlet 0.1 (digits)",
}
Results = Mapping[str, Any]  # name of a result file -> what is in it
Row = tuple[str, Sequence[float], Sequence[float], bool]  # the last: less is better


def verdicts(results: Results) -> str:
    """Write the table of README."""
    return markdown_table(HEAD, [cells(row) for row in rows(results)])


def rows(results: Results) -> Iterator[Row]:
    """Yield the federations, with what ranks from data and one rank for all come to by seed."""
    for name, clients in DIGITS.items():
        if name in results:
            arms = results[name]["arms"]
            two = [_last_rounds(arms[f"{by} + default"]) for by in ("autorank", "uniform")]
            yield clients, *two, False
    if "banking77" in results:
        texts = results["banking77"]["texts"]["Dirichlet 0.1"]
        names = ("AutoRank, head by LDA", "uniform, head by LDA")
        two = [_finals(texts[name]) for name in names]
        yield "intents of bank customers, pre-trained BERT (Banking77)", *two, False
    if "causal_clients" in results:
        model = results["causal_clients"]
        everybody = language_table.clients_of(model)
        two = [
            language_table.over(model["perplexity"][f"{name}, global"], everybody)
            for name in ("autorank", "uniform")
        ]
        yield "texts, language model; perplexity, less is better", *two, True


def _last_rounds(arm: Mapping[str, Any]) -> list[float]:
    return [100 * statistics.mean(arm[seed]["test_accuracy"][-LAST:]) for seed in sorted(arm)]


def _finals(seeds: Mapping[str, Any]) -> list[float]:
    return [100 * [*seeds[seed]["test_accuracy"].values()][-1] for seed in sorted(seeds)]


def cells(row: Row) -> tuple[str, ...]:
    """Write one federation."""
    clients, chosen, uniform, falls = row
    apart = sure([a - b for a, b in zip(chosen, uniform, strict=True)])
    if not apart.beside_zero:
        verdict = "no difference"
    else:
        verdict = "they help" if (apart.mean < 0) == falls else "they hurt"
    return clients, spread(chosen), spread(uniform), between(apart), f"**{verdict}**"


def sure(values: Sequence[float]) -> Interval:
    """Return mean and interval of at least two values."""
    found = interval(values)
    assert found is not None
    return found


def between(found: Interval) -> str:
    """Write a difference with its interval."""
    return f"{found.mean:+.1f} ({found.low:+.1f} to {found.high:+.1f})"
