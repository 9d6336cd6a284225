"""How much of its change each client need not send: by score, and so that a budget is met. Ours."""

from collections.abc import Mapping

import numpy as np

from polyrank.allocators.choice import Floats
from polyrank.allocators.limits import Limits
from polyrank.allocators.spread import unit_scores

LEAST, MOST = 1e-4, 0.98  # an error share
SPREAD = 4.0  # between the largest and the smallest share where clients differ most
STEP = 1.5  # how strongly a round that cost too much raises the shares of the next one


def by_score(scores: Floats, share: float) -> Floats:
    """Return by what the error share of each client (n,) is multiplied: less for a better score.

    ``4 ^ (1/2 - u_k)``, where u_k is the score scaled to 0 .. 1 and drawn to its middle: 2 for the
    worst, 1/2 for the best, the same for clients that are alike.

    Args:
        scores: (n,) higher is better.
        share: how far clients differ, from 0 to 1; see ``polyrank.allocators.alike``.

    Example:
        >>> by_score(np.array([1.0, 2.0, 3.0]), 1.0).tolist()
        [2.0, 1.0, 0.5]
    """
    factors: Floats = SPREAD ** (-share * (unit_scores(scores) - 0.5))
    return factors


def next_scale(
    scale: float, sent: Mapping[str, Mapping[str, int]], clients: int, limits: Limits
) -> float:
    """Return by what all shares are multiplied next, so that what is sent comes to the budget.

    A round that cost q times the budget raises the shares by ``q ^ 1.5``; one that cost less lowers
    them, down to those that were asked for: a budget is an upper limit.

    Args:
        scale: of the round before, at least 1.
        sent: client -> module -> triples that it sent; what they cost stands for all clients.
        clients: how many there are in all.
        limits: with the budget, or without one.
    """
    if limits.budget is None or not sent:
        return 1.0 if limits.budget is None else scale
    prices = {name: limits.budget.price(m) for name, m in limits.modules.items()}
    cost = sum(prices[m] * r for of in sent.values() for m, r in of.items()) / len(sent)
    allowed = limits.budget.total(clients, len(limits.modules)) / clients
    return float(np.clip(scale * (cost / allowed) ** STEP, 1.0, MOST / LEAST))


def shares(error: float, factors: Floats, scale: float) -> Floats:
    """Return each client's error share (n,), below 1; 0 stays 0 for all."""
    if not error:
        return np.zeros(len(factors))
    found: Floats = np.clip(error * factors * scale, LEAST, MOST)
    return found
