"""Ranks by hand, as ratios of each module's largest rank.

The staircase 0.1, 0.2, ..., 1.0 over ten clients is the setting of Chen, Tavallaie,
Nazemi, Zomaya, "RBLA", 2024, https://arxiv.org/abs/2408.08699
"""

from collections.abc import Sequence

import numpy as np

from polyrank.allocators.choice import Choice, Evidence, Floats
from polyrank.allocators.limits import Limits
from polyrank.allocators.needs import Needs
from polyrank.errors import SettingsError


@Needs(by_hand=True)
def ratio(evidence: Evidence, limits: Limits, *, ratios: Sequence[float] = (0.1, 1.0)) -> Choice:
    """Give each client round(ratio * r_max) in every module, at least 1; half rounds to even.

    Ranks by hand are taken as given: r_min does not hold for them, unless it is that of one module
    by its name. A cap does.

    Args:
        evidence: criteria are not read.
        limits: ranges, budget and caps.
        ratios: one per client, in the order in which clients are given; or, where there
            are not two clients, (start, stop) of an even staircase over them.

    Raises:
        SettingsError: a ratio outside (0, 1], or neither 2 nor one per client.
        BudgetError: the ranks cost more than the budget.
    """
    given = _per_client(ratios, len(evidence.clients))
    _, upper = limits.bounds(evidence.clients)
    largest = np.array([[module.r_max] for module in limits.modules.values()])
    floors = np.array([[module.floor] for module in limits.modules.values()])
    wanted = np.maximum(floors, np.rint(given * largest).astype(np.int64))
    ranks = np.minimum(wanted, upper)
    limits.check_cost(ranks, evidence.clients, "the given ratios")
    return Choice(
        clients=evidence.clients,
        ranks=dict(zip(limits.modules, ranks, strict=True)),
        basis="by hand",
        capped=np.any(wanted > upper, axis=0),
    )


def _per_client(ratios: Sequence[float], clients: int) -> Floats:
    """Ratios (n,), one per client."""
    given = np.asarray(ratios, dtype=np.float64)
    if given.shape not in ((clients,), (2,)):
        raise SettingsError(
            f"ratio: expected ratios for {clients} clients or (start, stop), got {len(ratios)}"
        )
    if not ((given > 0) & (given <= 1)).all():
        raise SettingsError(f"ratio: expected ratios above 0 and at most 1, got {list(ratios)}")
    return given if len(given) == clients else np.linspace(given[0], given[1], clients)
