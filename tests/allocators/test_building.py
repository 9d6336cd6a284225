"""Allocators by name, with their options."""

import numpy as np
import pytest

from polyrank.allocators import ALLOCATORS, Evidence, Limits, ModuleRange, Needs
from polyrank.allocators.protocol import Static
from polyrank.allocators.uniform import uniform
from polyrank.errors import SettingsError, UnknownNameError
from polyrank.registry import Named

RANGE = ModuleRange(2, 10, 30)


def clients(count, seed=0):
    return Evidence([f"c{at}" for at in range(count)], {}, seed=seed)


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
