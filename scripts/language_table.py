"""Tables of perplexities from a result file of ``benchmarks/causal_federation.py``."""

import math
import statistics
import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

from markdown_table import markdown_table, spread

Seeds = Mapping[str, Mapping[str, float]]  # seed -> client -> perplexity
PAIRS = (  # what is compared with what, and for which clients
    ("autorank, global", "uniform, global", "all"),
    ("autorank, personal", "uniform, personal", "all"),
    ("autorank, personal", "uniform, personal", "large"),
    ("autorank, personal", "uniform, personal", "small"),
    ("autorank, personal", "alone", "large"),
    ("autorank, personal", "alone", "small"),
)


def by_size(result: Mapping[str, Any]) -> str:
    """Write one column for all clients, one for the large and one for the small ones."""
    groups = {f"{size} clients": of_size(result, size) for size in ("all", "large", "small")}
    text = f"Of several clients it is exp of their mean loss. {paired(result)}"
    return f"{result['title']}:\n\n{rows(result, groups)}\n{textwrap.fill(text, 120)}"


def by_client(result: Mapping[str, Any]) -> str:
    """Write a column for each client."""
    return rows(result, {client: [client] for client in clients_of(result)})


def clients_of(result: Mapping[str, Any]) -> list[str]:
    """Return the names of the clients."""
    return list(next(iter(result["perplexity"]["base"].values())))


def of_size(result: Mapping[str, Any], size: str) -> list[str]:
    """Return the clients of a size, or all."""
    return [c for c in clients_of(result) if size == "all" or c.endswith(size)]


def rows(result: Mapping[str, Any], groups: Mapping[str, Sequence[str]]) -> str:
    """Write a row for each model, a column for each group of clients."""
    lines = [
        (name, *(spread(over(seeds, group)) for group in groups.values()), servers(result, name))
        for name, seeds in result["perplexity"].items()
    ]
    lines.append(("pooled", *[""] * len(groups), servers(result, "pooled")))
    many = len(result["perplexity"]["base"])
    told = f"Mean ± standard deviation over {many} seeds; lower is better."
    return f"{markdown_table(('', *groups, 'server'), lines)}\n\n{told}"


def servers(result: Mapping[str, Any], name: str) -> str:
    """Write what a global model came to on the server's test texts; the base is round 0 of all."""
    arm, _, kind = name.partition(", ")
    if arm == "alone" or kind == "personal":
        return ""
    runs = result["runs"]["uniform" if arm == "base" else arm].values()
    return spread([run["test_perplexity"][0 if arm == "base" else -1] for run in runs])


def paired(result: Mapping[str, Any]) -> str:
    """Write how far two models are apart, seed by seed on the same texts."""
    told = []
    for left, right, size in PAIRS:
        clients = of_size(result, size)
        sides = [over(result["perplexity"][name], clients) for name in (left, right)]
        apart = [100 * (a / b - 1) for a, b in zip(*sides, strict=True)]
        told.append(f"*{left}* against *{right}*, {size} clients: {spread(apart, sign='+')} %")
    return f"Seed by seed, on the same texts: {'; '.join(told)}."


def over(seeds: Seeds, clients: Sequence[str]) -> list[float]:
    """Return for each seed exp of the clients' mean loss."""
    return [math.exp(statistics.mean(math.log(of[c]) for c in clients)) for of in seeds.values()]
