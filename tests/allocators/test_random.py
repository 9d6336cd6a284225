"""Ranks by lot."""

import numpy as np

from polyrank.allocators import Evidence, Limits, ModuleRange, reasons
from polyrank.allocators.random import random

RANGE = ModuleRange(2, 10, 30)


def clients(count, seed=0):
    return Evidence([f"c{at}" for at in range(count)], {}, seed=seed)


def test_random_uses_the_whole_range_and_the_seed():
    """Spread like any other scores: the largest draw gets r_max, the smallest r_min."""
    one, other = (random(clients(20, seed), Limits({"m": RANGE})) for seed in (0, 1))
    assert (one.ranks["m"].min(), one.ranks["m"].max()) == (2, 10)
    assert one.ranks["m"].tolist() != other.ranks["m"].tolist()
    assert next(reasons(one)).startswith("by lot, position ")


def test_random_scores_are_uniform():
    """Mean 1/2 and variance 1/12 of 20,000 draws; allowed are 5 standard errors."""
    scores = random(clients(20_000), Limits({"m": RANGE})).scores
    assert abs(scores.mean() - 1 / 2) < 5 * np.sqrt(1 / 12 / 20_000)
    assert abs(scores.var() - 1 / 12) < 5 * np.sqrt(1 / 180 / 20_000)
