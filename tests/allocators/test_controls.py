"""uniform, random and ratio: the allocators that do not look at the data."""

import numpy as np
import pytest

from polyrank.allocators import ALLOCATORS, Budget, Evidence, Limits, ModuleRange, Needs, reasons
from polyrank.allocators.protocol import Static
from polyrank.allocators.random import random
from polyrank.allocators.ratio import ratio
from polyrank.allocators.uniform import uniform
from polyrank.errors import BudgetError, SettingsError, UnknownNameError
from polyrank.registry import Named

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


def test_ratio_staircase_of_the_rbla_papers():
    """Full ranks 160 and 100, ten clients, ratios 0.1 to 1.0 (METHODS of the papers' code)."""
    limits = Limits({"m": ModuleRange(4, 160, 1), "n": ModuleRange(4, 100, 1)})
    choice = ratio(clients(10), limits)
    assert choice.ranks["m"].tolist() == [16 * step for step in range(1, 11)]
    assert choice.ranks["n"].tolist() == [10 * step for step in range(1, 11)]


def test_ratio_by_client_is_at_least_one_and_not_held_by_r_min():
    choice = ratio(clients(3), Limits({"m": RANGE}), ratios=[0.01, 0.5, 1.0])
    assert choice.ranks["m"].tolist() == [1, 5, 10]
    assert set(reasons(choice)) == {"by hand"}


def test_ratio_for_two_clients_is_theirs():
    choice = ratio(clients(2), Limits({"m": RANGE}), ratios=[0.9, 0.3])
    assert choice.ranks["m"].tolist() == [9, 3]


def test_ratio_under_a_cap():
    choice = ratio(clients(2), Limits({"m": RANGE}, caps=np.array([9, 4])), ratios=[0.5, 0.5])
    assert choice.ranks["m"].tolist() == [5, 4]
    assert choice.capped.tolist() == [False, True]


@pytest.mark.parametrize("ratios", [[0.5] * 3, [0.0, 1.0], [0.1, 1.5], [0.1, np.nan]])
def test_impossible_ratios(ratios):
    with pytest.raises(SettingsError, match="ratio: expected ratios"):
        ratio(clients(4), Limits({"m": RANGE}), ratios=ratios)


def test_options_are_checked_and_bound():
    allocator = ALLOCATORS.build(Named("uniform", {"rank": 3}))
    assert isinstance(allocator, Static)
    choice, state = allocator.step(None, clients(2), Limits({"m": RANGE}))
    assert choice.ranks["m"].tolist() == [3, 3]
    assert state is None
    with pytest.raises(SettingsError, match="did you mean 'rank'"):
        ALLOCATORS.build(Named("uniform", {"rnk": 3}))
    with pytest.raises(UnknownNameError, match="did you mean 'autorank'"):
        ALLOCATORS.build("autorang")


def test_options_from_a_settings_file():
    settings = {
        "criterion_weights": {"x": 1},
        "cost_criteria": ["x"],
        "normalisation": "minmax",
    }
    evidence = Evidence(["a", "b"], {"x": np.array([1.0, 2.0])})
    choice, _ = ALLOCATORS.build(Named("autorank", settings)).step(
        None, evidence, Limits({"m": RANGE})
    )
    assert choice.ranks["m"].tolist() == [10, 2]
    with pytest.raises(SettingsError, match="normalisation"):
        ALLOCATORS.build(Named("autorank", {"normalisation": "max"}))
    staircase, _ = ALLOCATORS.build(Named("ratio", {"ratios": [0.1, 1.0]})).step(
        None, clients(10), Limits({"m": RANGE})
    )
    assert staircase.ranks["m"].tolist() == list(range(1, 11))


class Counting:
    """A stateful allocator of one's own: one slot more in every round."""

    needs = Needs()

    def step(self, state, evidence, limits):
        rank = 1 if state is None else state + 1
        return uniform(evidence, limits, rank=rank), rank


def test_stateful_allocator_of_ones_own():
    allocator, state, seen = ALLOCATORS.build(f"{__name__}:Counting"), None, []
    for _ in range(3):
        choice, state = allocator.step(state, clients(1), Limits({"m": RANGE}))
        seen += choice.ranks["m"].tolist()
    assert seen == [1, 2, 3]
