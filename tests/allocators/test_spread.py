import time

import numpy as np

from polyrank.allocators import Budget, Evidence, Limits, ModuleRange
from polyrank.allocators.choice import id_order
from polyrank.allocators.spread import spread


def ranks(scores, limits, clients=None):
    evidence = Evidence(clients or [f"c{at}" for at in range(len(scores))], {})
    return spread(np.array(scores, float), id_order(evidence.clients), evidence, limits)


def test_no_budget_is_min_max_and_rounds():
    """Range 2 to 10: s = 0, 0.3, 1 of scores 0.2, 0.35, 0.7; 2 + 0.3 * 8 = 4.4."""
    found = ranks([0.2, 0.35, 0.7], Limits({"m": ModuleRange(2, 10, 1)}))
    assert found.ranks.tolist() == [[2, 4, 10]]


def test_each_module_has_its_own_range():
    limits = Limits({"small": ModuleRange(1, 3, 1), "large": ModuleRange(4, 64, 1)})
    assert ranks([0.0, 0.5, 1.0], limits).ranks.tolist() == [[1, 2, 3], [4, 34, 64]]


def test_all_alike_get_the_middle():
    assert ranks([0.7, 0.7], Limits({"m": ModuleRange(2, 10, 1)})).ranks.tolist() == [[6, 6]]


def test_budget_by_hand():
    """Range 1 to 5, scores 0, 0.5, 1, at most 8 slots.

    tau = 1 gives 1, 3, 5 = 9. Just below, floor(1 + 4 tau) = 4 and floor(1 + 2 tau) = 2: 7.
    Both step at tau = 1; the better score goes first, and the budget is spent: 1, 2, 5.
    """
    limits = Limits({"m": ModuleRange(1, 5, 1)}, Budget("parameters", 8))
    assert ranks([0.0, 0.5, 1.0], limits).ranks.tolist() == [[1, 2, 5]]


def test_budget_above_the_scores_raises_the_low_ones():
    """Range 1 to 5, scores 0 and 1, 8 slots: 3 for the first, as the second ends at 5."""
    limits = Limits({"m": ModuleRange(1, 5, 1)}, Budget("mean_rank", 4.0))
    found = ranks([0.0, 1.0], limits)
    assert found.ranks.tolist() == [[3, 5]]
    assert found.pull.tolist() == [1, 0]


def test_ties_go_by_client_id():
    """Alike at 2 each, one slot over: "a" comes before "b", wherever it stands."""
    limits = Limits({"m": ModuleRange(1, 4, 1)}, Budget("parameters", 5))
    assert ranks([0.5, 0.5], limits, ["b", "a"]).ranks.tolist() == [[2, 3]]


def test_what_is_left_goes_to_cheaper_modules():
    """Slots of 100 and of 1; 2 clients at rank 1 cost 202; 51 left buy cheap slots only."""
    limits = Limits(
        {"dear": ModuleRange(1, 4, 100), "cheap": ModuleRange(1, 40, 1)}, Budget("parameters", 253)
    )
    found = ranks([0.0, 1.0], limits)
    assert found.ranks[0].tolist() == [1, 1]
    assert found.ranks[1].sum() == 2 + 51


def test_cap_wins_over_the_least_rank_and_is_told():
    limits = Limits({"m": ModuleRange(4, 10, 1)}, caps=np.array([2, 6, 10]))
    found = ranks([0.0, 1.0, 1.0], limits)
    assert found.ranks.tolist() == [[2, 6, 10]]
    assert found.capped.tolist() == [True, True, False]


def test_what_a_cap_frees_goes_to_the_others():
    """10 slots, range 1 to 9, alike; the cap of 2 on one leaves 8 for the other."""
    limits = Limits({"m": ModuleRange(1, 9, 1)}, Budget("parameters", 10), np.array([2, 9]))
    found = ranks([0.5, 0.5], limits)
    assert found.ranks.tolist() == [[2, 8]]
    assert found.capped.tolist() == [True, False]


def test_decimal_budget_is_taken_as_written():
    """4.35 * 100 clients are 435 slots, though 434.99999999999994 in floating point."""
    limits = Limits({"m": ModuleRange(1, 9, 1)}, Budget("mean_rank", 4.35))
    assert ranks(np.linspace(0, 1, 100), limits).ranks.sum() == 435


def test_budget_beyond_all_caps_gives_all_caps():
    limits = Limits({"m": ModuleRange(1, 9, 1)}, Budget("mean_rank", 1e6))
    assert ranks([0.1, 0.3], limits).ranks.tolist() == [[9, 9]]


def test_a_hundred_thousand_clients_take_no_loop_over_clients():
    """0.07 s when written; a Python loop over clients and bisections would take 5 s."""
    scores = np.random.default_rng(0).random(100_000)
    limits = Limits({"m": ModuleRange(4, 64, 1)}, Budget("mean_rank", 16.0))
    evidence = Evidence([str(at) for at in range(len(scores))], {})
    start = time.process_time()
    found = spread(scores, np.arange(len(scores)), evidence, limits)
    assert time.process_time() - start < 2
    assert found.ranks.sum() == 1_600_000
