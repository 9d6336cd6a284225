"""One rank for all."""

import numpy as np
import pytest

from polyrank.allocators import Budget, Evidence, Limits, ModuleRange, reasons
from polyrank.allocators.uniform import uniform
from polyrank.errors import BudgetError, SettingsError

RANGE = ModuleRange(2, 10, 30)


def clients(count, seed=0):
    return Evidence([f"c{at}" for at in range(count)], {}, seed=seed)


def test_uniform_spends_a_fractional_mean_rank():
    """5.4 on 10 clients: 54 slots, four clients at 6 and six at 5."""
    choice = uniform(clients(10), Limits({"m": RANGE}, Budget("mean_rank", 5.4)))
    assert sorted(choice.ranks["m"].tolist()) == [5] * 6 + [6] * 4


def test_uniform_spare_slots_follow_the_seed():
    limits = Limits({"m": RANGE}, Budget("mean_rank", 5.5))
    drawn = {tuple(uniform(clients(10, seed), limits).ranks["m"]) for seed in range(5)}
    assert len(drawn) == 5  # of 252 subsets; seeds are fixed, so this does not vary


def test_uniform_by_hand_is_the_same_for_all_up_to_caps():
    limits = Limits({"m": RANGE, "n": RANGE}, caps=np.array([1, 4, 10]))
    choice = uniform(clients(3), limits, rank=6)
    assert [row.tolist() for row in choice.ranks.values()] == [[1, 4, 6], [1, 4, 6]]
    assert list(reasons(choice))[1:] == [
        "the same rank for all; held by its cap",
        "the same rank for all",
    ]


def test_uniform_without_rank_and_budget_is_the_largest():
    assert uniform(clients(2), Limits({"m": RANGE})).ranks["m"].tolist() == [10, 10]


def test_uniform_rank_above_what_a_module_can_use_is_the_module_s_largest():
    ranges = {"wide": RANGE, "narrow": ModuleRange(1, 4, 30)}
    choice = uniform(clients(2), Limits(ranges), rank=7)
    assert {m: r.tolist() for m, r in choice.ranks.items()} == {"wide": [7, 7], "narrow": [4, 4]}


def test_uniform_rank_below_one_is_refused():
    with pytest.raises(SettingsError, match="at least 1, got 0"):
        uniform(clients(2), Limits({"m": RANGE}), rank=0)


def test_uniform_by_hand_over_budget():
    limits = Limits({"m": RANGE}, Budget("mean_rank", 5))
    with pytest.raises(BudgetError, match=r"which cost 6; .* range is 2 to 10"):
        uniform(clients(2), limits, rank=6)
