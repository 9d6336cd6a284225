"""When ranks from data help: five federations, each against one rank for all of the same budget.

The difference is taken seed by seed. It is a gain or a loss where Student's 90 % interval of its
mean lies on one side of 0, and none otherwise.
"""

import json
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import language_table

from polyrank.intervals import Interval, interval

RESULTS = Path(__file__).parent.parent / "results"
LAST = 5  # rounds whose mean accuracy is told
HEAD = ("clients", "ranks from data", "one rank for all", "seed by seed", "do they help?")
Row = tuple[str, Sequence[float], Sequence[float], bool]  # the last: less is better


def verdicts() -> str:
    """Write the table of README."""
    lines = [f"| {' | '.join(HEAD)} |", f"| {' | '.join('---' for _ in HEAD)} |"]
    return "\n".join([*lines, *map(_line, rows())])


def rows() -> list[Row]:
    """Return the federations, with what ranks from data and one rank for all come to by seed."""
    digits = [
        ("more labels, more rows: staircase (digits)", "digits_staircase", "flexlora"),
        ("labels and sizes unequal, not together (digits)", "digits_double_imbalance", "flexlora"),
        ("a few labels each: Dirichlet 0.1 (digits)", "digits_label_skew", None),
    ]
    found = [_of_digits(*each) for each in digits]
    texts = _read("banking77")["texts"]["Dirichlet 0.1"]
    names = ("AutoRank, head by LDA", "uniform, head by LDA")
    two = [_finals(texts[name]) for name in names]
    found.append(("intents of bank customers, pre-trained BERT (Banking77)", *two, False))
    model = _read("causal_clients")
    everybody = language_table.clients_of(model)
    two = [
        language_table.over(model["perplexity"][f"{name}, global"], everybody)
        for name in ("autorank", "uniform")
    ]
    found.append(("texts, language model; perplexity, less is better", *two, True))
    return found


def _of_digits(clients: str, name: str, aggregator: str | None) -> Row:
    arms = _read(name)["arms"]
    rest = f" + {aggregator}" if aggregator else " + anchored + fedavgm + average"
    two = [_last_rounds(arms[f"{chooser}{rest}"]) for chooser in ("autorank", "uniform")]
    return clients, *two, False


def _read(name: str) -> Any:  # noqa: ANN401 - JSON
    return json.loads((RESULTS / f"{name}.json").read_text(encoding="utf-8"))


def _last_rounds(arm: Mapping[str, Any]) -> list[float]:
    return [100 * statistics.mean(arm[seed]["test_accuracy"][-LAST:]) for seed in sorted(arm)]


def _finals(seeds: Mapping[str, Any]) -> list[float]:
    return [100 * [*seeds[seed]["test_accuracy"].values()][-1] for seed in sorted(seeds)]


def _line(row: Row) -> str:
    clients, chosen, uniform, falls = row
    apart = sure([a - b for a, b in zip(chosen, uniform, strict=True)])
    if not apart.beside_zero:
        verdict = "no difference"
    else:
        verdict = "they help" if (apart.mean < 0) == falls else "they hurt"
    cells = [_spread(values) for values in (chosen, uniform)]
    cells += [between(apart), f"**{verdict}**"]
    return f"| {' | '.join([clients, *cells])} |"


def _spread(values: Sequence[float]) -> str:
    return f"{statistics.mean(values):.1f} ± {statistics.stdev(values):.1f}"


def sure(values: Sequence[float]) -> Interval:
    """Return mean and interval of at least two values."""
    found = interval(values)
    assert found is not None
    return found


def between(found: Interval) -> str:
    """Write a difference with its interval."""
    return f"{found.mean:+.1f} ({found.low:+.1f} to {found.high:+.1f})"
