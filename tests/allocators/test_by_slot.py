"""Choices that name slots by their numbers."""

import numpy as np
import pytest

from polyrank.allocators import Budget, Choice, Evidence, Limits, ModuleRange, Needs, choose_slots
from polyrank.errors import BudgetError, SettingsError, ShapeError

CLIENTS = Evidence(["a", "b"], {})
MODULES = {"m": ModuleRange(2, 6, 10), "n": ModuleRange(1, 3, 20)}


def chosen(a, b, limits=None):
    slots = {"a": {"m": a, "n": [2]}, "b": {"m": b, "n": []}}
    return choose_slots(CLIENTS, limits or Limits(MODULES), slots, "as told")


def test_ranks_are_how_many_slots_there_are():
    choice = chosen([5, 1, 3], [0])
    assert {m: r.tolist() for m, r in choice.ranks.items()} == {"m": [3, 1], "n": [1, 0]}
    assert choice.slots["a"]["m"].tolist() == [1, 3, 5]


@pytest.mark.parametrize("slots", [[0, 6], [-1, 2], [1, 1]])
def test_a_number_that_is_not_there_or_twice_is_refused(slots):
    with pytest.raises(SettingsError, match="client 'a', module 'm': expected slots from 0 to 5"):
        chosen(slots, [0])


def test_caps_and_budget_hold_for_the_number_of_slots():
    with pytest.raises(SettingsError, match="client 'b', module 'm': expected at most 1 slots"):
        chosen([4], [4, 5], Limits(MODULES, caps=np.array([9, 1])))
    assert chosen([4, 5], [3], Limits(MODULES, Budget("parameters", 50)))
    with pytest.raises(BudgetError, match="the chosen slots, which cost 50"):
        chosen([4, 5], [3], Limits(MODULES, Budget("parameters", 49)))


def test_ranks_that_do_not_count_the_slots_are_refused():
    own = {"a": {"m": np.array([1, 3])}}
    with pytest.raises(ShapeError, match=r"module 'm': expected ranks \[2\].* got \[3\]"):
        Choice(["a"], {"m": np.array([3])}, "as told", slots=own)


def test_who_observes_may_not_give_up_what_is_observed():
    class Nothing:
        def kept(self, rank):
            return rank

        def gives_up(self, before, after):
            return False

    with pytest.raises(SettingsError, match="observes or prunes, got one with both"):
        Needs(observes=lambda before, after: after.a, prunes=Nothing())
