"""One rank for all at what other ranks cost."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from polyrank.allocators import ALLOCATORS, Budget, Evidence, Limits, ModuleRange, reasons
from polyrank.allocators.limits import cost_of
from polyrank.allocators.needs import Needs
from polyrank.errors import SettingsError, UnknownNameError
from polyrank.registry import Named
from tests.allocators.allocator_problems import evidences, limits_for

CLIENTS = ["a", "b", "c"]
RANGE = ModuleRange(2, 16, slot_parameters=10)


def level(evidence: Evidence, limits: Limits, **options: object):
    choice, state = ALLOCATORS.build(Named("level", options)).step(None, evidence, limits)
    assert state is None
    return choice


def test_the_sum_of_ranks_by_hand_is_shared_out():
    """Ratios 0.1, 0.5 and 1 of 16 are 2, 8 and 16: together 26, and 8 or 9 each."""
    choice = level(
        Evidence(CLIENTS, {}),
        Limits({"m": RANGE}),
        of="ratio",
        of_options={"ratios": [0.1, 0.5, 1.0]},
    )
    assert sorted(choice.ranks["m"].tolist()) == [8, 9, 9]
    assert set(reasons(choice)) == {
        "the same rank for all at what ratio spends, spare slots by lot"
    }


def test_ranks_by_hand_below_r_min_can_be_shared_out():
    limits = Limits({"m": ModuleRange(8, 16, 10)})
    options = {"ratios": [0.1, 0.2, 0.3]}  # 2, 3 and 5
    choice = level(Evidence(CLIENTS, {}), limits, of="ratio", of_options=options)
    assert sorted(choice.ranks["m"].tolist()) == [3, 3, 4]


def test_a_cap_holds_and_the_others_get_what_it_leaves():
    limits = Limits({"m": RANGE}, caps=np.array([4, 99, 99]))
    choice = level(
        Evidence(CLIENTS, {}), limits, of="ratio", of_options={"ratios": [1.0, 0.5, 1.0]}
    )
    assert choice.ranks["m"].tolist() == [4, 12, 12]  # 4 + 8 + 16


@pytest.mark.parametrize("kind", [None, "mean_rank", "parameters", "bytes"])
@settings(deadline=None, max_examples=60)
@given(data=st.data())
def test_less_than_a_slot_is_left_of_what_the_other_spends(kind, data):
    evidence = data.draw(evidences())
    limits = data.draw(limits_for(len(evidence.clients), budget=False))
    lower, upper = limits.bounds(evidence.clients)
    if kind:
        most = Budget(kind, 1)
        price = np.array([most.price(m) for m in limits.modules.values()])
        share = data.draw(st.floats(0, 1))
        amount = cost_of(lower, price) + share * (cost_of(upper, price) - cost_of(lower, price))
        unit = lower.size if kind == "mean_rank" else 1
        limits = Limits(limits.modules, Budget(kind, (amount + 0.5) / unit), limits.caps)
    first, _ = ALLOCATORS.build("random").step(None, evidence, limits)
    ours = level(evidence, limits, of="random")
    unit = limits.budget or Budget("parameters", 1)
    price = np.array([unit.price(m) for m in limits.modules.values()])
    spent, levelled = (
        cost_of(np.stack([c.ranks[n] for n in limits.modules]), price) for c in (first, ours)
    )
    room = [p for p, row, n in zip(price, upper, limits.modules, strict=True)
            if (ours.ranks[n] < row).any()]  # fmt: skip
    assert spent - levelled >= 0
    assert not room or spent - levelled < min(room)


def test_it_measures_what_the_other_reads():
    assert ALLOCATORS.build("level").needs == Needs(criteria=True)
    assert ALLOCATORS.build(Named("level", {"of": "eva"})).needs == Needs(spectra=True)
    assert ALLOCATORS.build(Named("level", {"of": "ratio"})).needs == Needs(by_hand=True)
    assert ALLOCATORS.build(Named("level", {"of": "random"})).needs == Needs()
    assert ALLOCATORS.build(Named("level", {"of": "hetlora"})).needs == Needs(once=True)


def test_what_cannot_be_levelled_is_said():
    with pytest.raises(SettingsError, match="level: of: expected another allocator"):
        ALLOCATORS.build(Named("level", {"of": "level"}))
    with pytest.raises(UnknownNameError, match="did you mean 'autorank'"):
        ALLOCATORS.build(Named("level", {"of": "autorang"}))
    with pytest.raises(SettingsError, match="unknown option 'rnk'"):
        ALLOCATORS.build(Named("level", {"of": "uniform", "of_options": {"rnk": 2}}))
