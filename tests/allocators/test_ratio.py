"""Ranks by hand, as ratios."""

import numpy as np
import pytest

from polyrank.allocators import Evidence, Limits, ModuleRange, reasons
from polyrank.allocators.ratio import ratio
from polyrank.errors import SettingsError

RANGE = ModuleRange(2, 10, 30)


def clients(count, seed=0):
    return Evidence([f"c{at}" for at in range(count)], {}, seed=seed)


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


def test_a_floor_of_a_module_holds_by_hand_too():
    last = ModuleRange(10, 10, 30, floor=10)  # the last layer of the RBLA authors' newer runs
    choice = ratio(clients(3), Limits({"m": RANGE, "last": last}), ratios=[0.01, 0.5, 1.0])
    assert choice.ranks["m"].tolist() == [1, 5, 10]
    assert choice.ranks["last"].tolist() == [10, 10, 10]


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
