"""The same rank for every client: the control that any other choice must beat."""

import numpy as np

from polyrank.allocators.choice import Choice, Evidence, id_order
from polyrank.allocators.limits import Limits, Ranks
from polyrank.allocators.spread import Spread, spread
from polyrank.errors import SettingsError
from polyrank.seeding import numpy_stream


def uniform(evidence: Evidence, limits: Limits, *, rank: int | None = None) -> Choice:
    """Give every client the same rank, or the one nearest to it that its cap allows.

    With a budget and no ``rank``, every client gets the largest rank that the budget
    allows; what is left over goes as one more slot each to clients in an order drawn from
    the seed (the same in every round), so that the whole budget is spent. With neither, every
    client gets the largest rank of each module.

    Args:
        evidence: criteria are not read.
        limits: ranges, budget and caps.
        rank: the rank by hand; a module whose r_max is smaller gets that.

    Raises:
        SettingsError: ``rank`` is below 1.
        BudgetError: the budget does not cover the ranks.
    """
    if rank is None and limits.budget is not None:
        order = id_order(evidence.clients)
        turn = order[numpy_stream(evidence.seed, "allocator", "uniform").permutation(len(order))]
        found = spread(np.zeros(len(order)), turn, evidence, limits)
        basis = "the same rank for all, spare slots by lot"
    else:
        found = _by_hand(rank, evidence, limits)
        basis = "the same rank for all"
    ranks = dict(zip(limits.modules, found.ranks, strict=True))
    return Choice(evidence.clients, ranks, basis, capped=found.capped)


def _by_hand(rank: int | None, evidence: Evidence, limits: Limits) -> Spread:
    if rank is not None and rank < 1:
        raise SettingsError(f"uniform: expected a rank of at least 1, got {rank}")
    _, upper = limits.bounds(evidence.clients)
    wanted: Ranks = np.empty_like(upper)
    for row, module in enumerate(limits.modules.values()):
        wanted[row] = module.r_max if rank is None else min(rank, module.r_max)
    ranks = np.minimum(wanted, upper)
    limits.check_cost(ranks, evidence.clients, f"rank {rank} for all")
    return Spread(ranks, np.any(wanted > upper, axis=0), np.zeros(ranks.shape[1], np.int8))
