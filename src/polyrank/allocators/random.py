"""Ranks by lot: the control that shows whether it matters who gets a high rank."""

import numpy as np

from polyrank.allocators.choice import Choice, Evidence, id_order
from polyrank.allocators.limits import Limits
from polyrank.allocators.spread import spread
from polyrank.seeding import numpy_stream


def random(evidence: Evidence, limits: Limits) -> Choice:
    """Draw scores evenly from [0, 1) and spread ranks by them, as AutoRank does by its own.

    A budget is spent just as there. The draw depends on the seed and the client ids, not
    on the round: like criteria that do not change, it gives the same ranks every time.

    Args:
        evidence: criteria are not read.
        limits: ranges, budget and caps.

    Raises:
        BudgetError: the budget is below the cost of the least ranks.
    """
    order = id_order(evidence.clients)
    scores = np.empty(len(order))
    scores[order] = numpy_stream(evidence.seed, "allocator", "random").random(len(order))
    found = spread(scores, order, evidence, limits)
    return Choice(
        clients=evidence.clients,
        ranks=dict(zip(limits.modules, found.ranks, strict=True)),
        basis="by lot",
        scores=scores,
        capped=found.capped,
        pull=found.pull,
    )
