"""The allocator ``hetlora``: self-pruning ranks."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from polyrank.allocators import (
    ALLOCATORS,
    Budget,
    Evidence,
    Limits,
    ModuleRange,
    reasons,
)
from polyrank.allocators.hetlora import HetLora, Tail, kept_rank, tail_product
from polyrank.allocators.needs import Needs
from polyrank.allocators.random import random
from polyrank.errors import BudgetError, DataError, SettingsError, UnknownNameError
from polyrank.lora.factors import Factors, prefix
from polyrank.registry import Named
from tests.allocators.allocator_problems import evidences, limits_for

CLIENTS = Evidence(["a", "b", "c"], {})

LIMITS = Limits({"m": ModuleRange(2, 20, 10), "n": ModuleRange(4, 20, 10)})

STATE = {name: {"m": 20, "n": 5} for name in "abc"}


def ranks(choice):
    return {module: row.tolist() for module, row in choice.ranks.items()}


def after(state, limits=LIMITS, decay=0.8, **sent):
    evidence = replace(CLIENTS, sent=sent)
    return HetLora(decay=decay).step(state, evidence, limits)


def test_by_hand():
    """What a and b have sent, they keep; c did not train."""
    choice, state = after(STATE, a={"m": 16, "n": 4}, b={"m": 20, "n": 5})
    assert ranks(choice) == {"m": [16, 20, 20], "n": [4, 5, 5]}
    assert state == {"a": {"m": 16, "n": 4}, "b": {"m": 20, "n": 5}, "c": {"m": 20, "n": 5}}
    assert set(reasons(choice)) == {"from random, cut where training shrank the last slots"}


def test_a_rank_stays_where_its_client_has_cut_it():
    _, state = after(STATE, a={"m": 16, "n": 4})
    _, state = after(json.loads(json.dumps(state)))
    choice, state = after(json.loads(json.dumps(state)), a={"m": 12, "n": 4})
    assert ranks(choice) == {"m": [12, 20, 20], "n": [4, 5, 5]}
    assert state["b"] == STATE["b"]


def test_floors_are_those_of_the_decimal():
    """In floating point 0.29 * 100 is 28.999999999999996."""
    assert [kept_rank(100, 0.29), kept_rank(10, 0.9), kept_rank(64, 0.99)] == [29, 9, 63]
    assert [kept_rank(1, 0.99), kept_rank(0, 0.99)] == [0, 0]


def test_a_rank_below_the_least_is_not_raised():
    """Ranks by hand may be below r_min."""
    _, state = after({**STATE, "a": {"m": 1, "n": 3}}, a={"m": 1, "n": 3})
    assert state["a"] == {"m": 1, "n": 3}


def test_a_cap_wins_over_the_state_and_over_the_least_rank():
    limits = Limits(LIMITS.modules, caps=np.array([3, 30, 17]))
    choice, state = after(STATE, limits, a={"n": 4}, c={"m": 16})
    assert ranks(choice) == {"m": [3, 20, 16], "n": [3, 5, 5]}
    assert choice.capped.tolist() == [True, False, False]
    assert state["a"] == {"m": 3, "n": 3}


def test_the_first_ranks_are_the_start_s():
    evidence = Evidence([f"c{at}" for at in range(9)], {}, seed=3)
    limits = Limits(LIMITS.modules, Budget("mean_rank", 7))
    choice, state = ALLOCATORS.build("hetlora").step(None, evidence, limits)
    assert ranks(choice) == ranks(random(evidence, limits))
    assert state["c4"] == {m: int(row[4]) for m, row in choice.ranks.items()}
    made = ALLOCATORS.build(
        Named("hetlora", {"start": "ratio", "start_options": {"ratios": [0.1, 0.5, 1.0]}})
    )
    assert ranks(made.step(None, CLIENTS, LIMITS)[0]) == {"m": [2, 10, 20], "n": [2, 10, 20]}


@pytest.mark.parametrize(
    ("start", "needs"),
    [
        ("autorank", Needs(criteria=True)),
        ("eva", Needs(spectra=True)),
        ("ratio", Needs(by_hand=True)),
        ("uniform", Needs()),
    ],
)
def test_it_needs_what_its_start_needs_once_and_prunes_after_every_round(start, needs):
    found = ALLOCATORS.build(Named("hetlora", {"start": start, "decay": 0.8})).needs
    assert found == replace(needs, once=True, prunes=Tail(0.8))
    assert found.every_round
    assert not needs.every_round


@settings(deadline=None, max_examples=60)
@given(data=st.data())
def test_ranks_only_fall_and_stay_allowed(data):
    evidence = data.draw(evidences())
    limits = data.draw(limits_for(len(evidence.clients)))
    allocator = HetLora(decay=data.draw(st.sampled_from([0.5, 0.9, 0.99])))
    _, state = allocator.step(None, evidence, limits)
    for _ in range(3):
        observed = {
            client: {m: data.draw(st.integers(1, state[client][m])) for m in limits.modules}
            for client in data.draw(st.sets(st.sampled_from(list(evidence.clients))))
        }
        before = state
        choice, state = allocator.step(state, replace(evidence, sent=observed), limits)
        for k, client in enumerate(evidence.clients):
            for module in limits.modules:
                old, new = before[client][module], state[client][module]
                assert new == observed.get(client, {}).get(module, old)
                assert choice.ranks[module][k] == new


def test_impossible_options():
    for decay in (0.0, 1.0, -0.5, float("nan")):
        with pytest.raises(SettingsError, match="decay: expected a number above 0 and below 1"):
            HetLora(decay=decay)
    with pytest.raises(SettingsError, match="expected another allocator, got 'hetlora'"):
        HetLora(start="hetlora")
    with pytest.raises(UnknownNameError, match="did you mean 'ratio'"):
        HetLora(start="ratios")
    with pytest.raises(SettingsError, match="allowed: ratios"):
        HetLora(start="ratio", start_options={"rank": 3})
    with pytest.raises(SettingsError, match=r"that chooses once, got .*:Restless"):
        HetLora(start="tests.allocators.test_hetlora:Restless")


class Restless:
    """Asked after every round, for what it observes."""

    needs = Needs(observes=lambda before, after: (after.a - before.a).norm(dim=1))

    def step(self, state, evidence, limits):
        return random(evidence, limits), None


def test_states_and_observations_that_do_not_fit_are_named():
    with pytest.raises(SettingsError, match=r"a state of the clients a, b, c .* got clients a, b"):
        after({name: STATE[name] for name in "ab"})
    with pytest.raises(SettingsError, match=r"with the modules m, n, got .* modules m$"):
        after({name: {"m": 3} for name in "abc"})
    with pytest.raises(UnknownNameError, match="sent: there is no client 'd'"):
        after(STATE, d={"m": 3})
    with pytest.raises(UnknownNameError, match=r"sent: there is no module 'mm'.*mean 'm'"):
        after(STATE, a={"mm": 3})
    for bad in (0, 21):
        with pytest.raises(
            DataError, match=f"client 'a', module 'm': expected 1 to 20 slots, got {bad}"
        ):
            after(STATE, a={"m": bad})
    with pytest.raises(BudgetError, match=r"ranks of the last round, which cost 12\.5"):
        after(STATE, Limits(LIMITS.modules, Budget("mean_rank", 12)))


def draw(rank: int, seed: int, d_in: int = 5, d_out: int = 8) -> Factors:
    generator = torch.Generator().manual_seed(seed)
    a = torch.randn(rank, d_in, generator=generator, dtype=torch.float64)
    b = torch.randn(d_out, rank, generator=generator, dtype=torch.float64)
    return Factors(a, b, prefix(rank))


@pytest.mark.parametrize(("rank", "decay", "start"), [(6, 0.99, 5), (6, 0.5, 3), (10, 0.9, 9)])
def test_the_tail_product_is_that_of_numpy_s_norms(rank, decay, start):
    """Tails of one slot, of three, and of one where 0.9 * 10 is just 9."""
    f = draw(rank, 1)
    tail = np.linalg.norm(f.b.numpy()[:, start:]) * np.linalg.norm(f.a.numpy()[start:])
    assert tail_product(f, decay) == pytest.approx(tail, rel=1e-12)


def test_the_tail_product_has_the_third_factor_in_it():
    f = draw(4, 1)
    e = torch.tensor([[1.0], [2.0], [-3.0], [0.5]])
    tail = np.linalg.norm(f.b.numpy()[:, 2:] * [-3.0, 0.5]) * np.linalg.norm(f.a.numpy()[2:])
    assert tail_product(Factors(f.a, f.b, f.slots, e), 0.5) == pytest.approx(tail, rel=1e-6)


def test_the_tail_product_at_the_ends():
    """Rank 1 is all tail, no slots are 0, as is a start with b = 0; 6e60 is above float32."""
    one = Factors(torch.tensor([[3e30]]), torch.tensor([[2e30]]), prefix(1))
    assert tail_product(one, 0.99) == pytest.approx(6e60)
    assert tail_product(draw(0, 1), 0.99) == 0
    start = draw(4, 1)
    assert tail_product(Factors(start.a, start.b * 0, start.slots), 0.99) == 0
    with pytest.raises(SettingsError, match="decay"):
        tail_product(start, 1.0)
