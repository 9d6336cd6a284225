"""What a client has of its own, put together with what it is sent."""

import pytest
import torch

from polyrank.aggregators.local_rule import LocalRule
from polyrank.client.state import ClientState, Start
from polyrank.disk.checkpoint import ClientStore
from polyrank.errors import TrainingError
from polyrank.lora.base_change import no_change
from polyrank.lora.factors import A, Factors, start_factors

SHAPE = (5, 7)
START = Start(0, {"fc": SHAPE})


def factors(slots, seed=0):
    generator = torch.Generator().manual_seed(seed)
    many = len(slots)
    a = torch.randn(many, SHAPE[0], generator=generator)
    return Factors(a, torch.randn(SHAPE[1], many, generator=generator), torch.tensor(slots))


def test_own_slots_are_found_by_their_number_and_new_ones_begin_at_the_start(tmp_path):
    """The client had 2, 4 and 5, and is sent a of 0, 2 and 4: b of two of them is its own."""
    own, sent = factors([2, 4, 5]), factors([0, 2, 4], seed=1)
    store = ClientStore(tmp_path)
    store.save("c", 3, {"fc": own}, {})
    rule = LocalRule(sends=A, receives=A, absent="own")
    state = ClientState(store, START)
    whole = state.completed({"fc": sent.only(A)}, rule, "c", 4, last=3)["fc"]
    assert torch.equal(whole.a, sent.a)
    assert torch.equal(whole.b[:, 1:], own.b[:, :2])
    assert not whole.b[:, 0].any()
    fresh = state.completed({"fc": sent.only(A)}, rule, "c", 4, last=None)["fc"]
    assert not fresh.b.any()


def test_in_svd_form_a_client_draws_the_factors_that_the_server_starts_with():
    begun = start_factors(SHAPE, 6, 0, "fc", parametrisation="svd")
    slots = torch.tensor([1, 4])
    start = Start(0, {"fc": SHAPE}, parametrisation="svd")
    drawn = start.factors("fc", slots, 0)
    wanted = begun.take(slots).tensors
    assert drawn.tensors.keys() == wanted.keys()
    assert all(torch.equal(t, wanted[part]) for part, t in drawn.tensors.items())
    lacking = begun.take(slots).only(A)
    whole = ClientState(None, start).completed({"fc": lacking}, LocalRule(), "c", 1, None)["fc"]
    assert all(torch.equal(t, wanted[part]) for part, t in whole.tensors.items())


def test_each_client_goes_on_from_the_base_that_it_has(tmp_path):
    """One at version 2, one that was away since version 1, one that has nothing yet."""
    generator = torch.Generator().manual_seed(0)
    versions = [no_change({"fc": (30, 20)}, torch.float32)]
    for _ in range(3):
        step = torch.randn(30, 1, generator=generator), torch.randn(1, 20, generator=generator)
        versions.append(versions[-1].stepped({"fc": step}))
    store = ClientStore(tmp_path)
    for version in (1, 2):
        store.save_base(version, versions[version].totals)
    state = ClientState(store, START)
    for since in (2, 1, 0, 2):
        assert torch.equal(
            state.own_base(since).get("fc", torch.zeros(30, 20)), versions[since].totals["fc"]
        )
        assert torch.equal(state.base(versions[3].patch(since))["fc"], versions[3].totals["fc"])
    assert torch.equal(state.own_base(1)["fc"], versions[1].totals["fc"])
    assert torch.equal(state.base(versions[2].patch(1))["fc"], versions[2].totals["fc"])


def test_spare_slots_change_nothing_are_the_same_for_all_and_new_in_every_round():
    state, sent = ClientState(None, START), factors([0, 1])
    wanted = {"fc": torch.arange(5)}
    first, same, later = (state.with_spare({"fc": sent}, wanted, n)["fc"] for n in (3, 3, 4))
    assert torch.equal(first.b @ first.a, sent.b @ sent.a)
    assert torch.equal(first.a, same.a)
    assert not torch.equal(first.a[2:], later.a[2:])
    assert first.a[2:].any(dim=1).all()


def test_a_slot_far_beyond_the_others_is_refused_and_not_made():
    """Its number alone would have a client draw as many rows."""
    wanted = {"fc": torch.tensor([0, 2**40])}
    with pytest.raises(
        TrainingError, match="the first 2 slots to train, got numbers up to 1099511"
    ):
        ClientState(None, START).with_spare({"fc": factors([0, 1])}, wanted, 1)
