"""What the cells of a place come to: each client's need, and who would have known it."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any

import numpy as np
from need_statistics import agreement, needed, on_grid
from need_sweep import Cell, Sweep

from polyrank.allocators import ALLOCATORS, Evidence, Limits
from polyrank.allocators.limits import ModuleRange
from polyrank.registry import Named

LABELS = ("label_entropy", "gini_simpson", "label_count", "sample_count")
TOKENS = ("loss_entropy", "token_loss_spread", "token_entropy", "sample_count")
SETS = {  # criteria, and how AutoRank spreads differences
    "AutoRank": (LABELS, "relative"),
    "AutoRank, paper": (("loss_entropy", *LABELS), "paper"),
    "AutoRank, without labels": (TOKENS, "relative"),
    "AutoRank, without labels, spread as in the paper": (TOKENS, "paper"),
}
OTHERS, TRIED = 16, (1, 4)
NOT_RUN = ("facts, reversed rows",)  # of which only what orders clients is measured


def alone(sweep: Sweep, seed: int) -> Cell:
    """Return by rank what every client reaches by itself, and the rank that it needs."""
    sweep = replace(sweep, place=sweep.place.twin or sweep.place)
    reached = {rank: sweep.alone(seed, rank)["reached"] for rank in sweep.place.ranks}
    by_client = {
        client: {rank: of[client] for rank, of in reached.items()} for client in reached[1]
    }
    return {
        "reached": by_client,
        "need": {client: round(needed(of), 3) for client, of in by_client.items()},
        "need, of ranks tried": {client: on_grid(of) for client, of in by_client.items()},
    }


def orders(sweep: Sweep, seed: int) -> Cell:
    """Return what is measured of clients before training, by name."""
    criteria = sweep.criteria(seed)
    scores = {
        name: scored({n: criteria[n] for n in names}, spread)
        for name, (names, spread) in SETS.items()
        if set(names) <= set(criteria)
    }
    return {**scores, **criteria, **sweep.probe(seed)}


def found(sweep: Sweep, seed: int) -> Cell:
    """Return what ranks by need come to."""
    return {} if sweep.place.name in NOT_RUN else sweep.found(seed)


def beside(sweep: Sweep, seed: int) -> Cell:
    """Return what the client of the largest need reaches with ranks below the others'."""
    if sweep.place.twin:
        return {}
    need = alone(sweep, seed)["need"]
    client = max(need, key=lambda name: float(need[name]))
    tried = [*((rank, sweep.beside(seed, client, rank, OTHERS)) for rank in TRIED)]
    tried.append((OTHERS, sweep.beside(seed, None, OTHERS, OTHERS)))
    return {"client": client, "ranks": dict(tried)}


KINDS: Mapping[str, Callable[[Sweep, int], Cell]] = {
    "alone": alone,
    "orders": orders,
    "found": found,
    "beside": beside,
}


def outcome(sweep: Sweep, seed: int) -> Cell:
    """Return what there is of a place and seed, with Kendall's tau of orders and need."""
    told: dict[str, Any] = {}
    for kind, read in KINDS.items():
        with suppress(LookupError):
            told |= {kind: cell} if (cell := read(sweep, seed)) else {}
    if "alone" in told:
        by_name = {**told.get("orders", {})}
        if "found" in told:
            by_name["ranks by need"] = told["found"]["sent"]
        need = told["alone"]["need"]
        told["tau"] = {name: tau(of, need) for name, of in by_name.items()}
    return told


def tau(order: Mapping[str, float], need: Mapping[str, float]) -> float | None:
    """Return Kendall's tau-b over the clients."""
    value = agreement([order[client] for client in need], list(need.values()))
    return None if value is None else round(value, 4)


def scored(criteria: Mapping[str, Mapping[str, float]], spread: str) -> dict[str, float]:
    """Return AutoRank's scores of criteria by client, as the product computes them."""
    clients: Sequence[str] = list(next(iter(criteria.values())))
    columns = {n: np.array([of[client] for client in clients]) for n, of in criteria.items()}
    limits = Limits({"module": ModuleRange(1, OTHERS, 1)})
    choice, _ = ALLOCATORS.build(Named("autorank", {"spread": spread})).step(
        None, Evidence(clients, columns), limits
    )
    assert choice.scores is not None
    return dict(zip(clients, choice.scores.tolist(), strict=True))
