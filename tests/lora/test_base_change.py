import pytest
import torch

from polyrank.errors import AdapterError
from polyrank.lora.base_change import flatten_patch, no_change, patched, unflatten_patch

SHAPES = {"fc": (12, 9), "out": (4, 3)}


def step(rank, seed):
    """Low-rank steps of both modules; rank 2 of "out" has as many numbers as "out" itself."""
    generator = torch.Generator().manual_seed(seed)
    drawn = {}
    for module, (d_out, d_in) in SHAPES.items():
        b = torch.randn(d_out, rank, generator=generator)
        drawn[module] = (b, torch.randn(rank, d_in, generator=generator))
    return drawn


def after(ranks):
    change = no_change(SHAPES, torch.float32)
    for seed, rank in enumerate(ranks):
        change = change.stepped(step(rank, seed))
    return change


@pytest.mark.parametrize("ranks", [(1,), (1, 1, 1), (1, 3, 1, 1), (2, 2, 2, 2, 2)])
def test_every_client_ends_with_the_bits_of_the_server_whatever_it_missed(ranks):
    server = after(ranks)
    for since in range(len(ranks)):
        held = after(ranks[:since]).totals if since else {}
        reached = patched(held, server.patch(since), since)
        for module in SHAPES:
            assert torch.equal(reached[module], server.totals[module])


def test_a_client_that_is_ahead_of_a_patch_s_start_skips_what_it_has():
    server = after((1, 1, 1))
    held = after((1, 1)).totals
    reached = patched(held, server.patch(0), 2)
    assert all(torch.equal(reached[m], server.totals[m]) for m in SHAPES)


def test_a_patch_is_no_larger_than_the_matrix_and_than_the_steps():
    """fc: 21 numbers a slot against 108; out: 7 against 12; 4 bytes each."""
    server = after((1, 1, 2))
    assert server.patch(2).nbytes == 4 * (2 * 21 + 12)
    assert server.patch(1).nbytes == 4 * (3 * 21 + 12)
    assert server.patch(0).nbytes == 4 * (4 * 21 + 12)
    assert after((1, 5)).patch(0).nbytes == 4 * (108 + 12)
    assert after((1, 5)).patch(1).nbytes == 4 * (5 * 21 + 12)
    assert server.patch(3).nbytes == 0


def test_the_server_keeps_no_more_steps_than_are_smaller_than_the_matrix():
    server = after((1,) * 50)
    assert len(server.recent["fc"]) == 5
    assert len(server.recent["out"]) == 1


def test_a_step_that_is_a_matrix_is_sent_as_the_total():
    server = after((1,)).stepped({m: (torch.ones(s),) for m, s in SHAPES.items()})
    patch = server.patch(1)
    assert not patch.steps
    for module in SHAPES:
        assert torch.equal(patched({}, patch, 0)[module], server.totals[module])


def test_a_patch_that_begins_after_the_base_at_hand_is_refused():
    with pytest.raises(AdapterError, match="from version 1, got 2 to 3"):
        patched({}, after((1, 1, 1)).patch(2), 1)


def test_patches_come_back_from_named_tensors():
    patch = after((1, 1, 1)).patch(1)
    again = unflatten_patch(flatten_patch(patch), patch.since, patch.version)
    assert again.nbytes == patch.nbytes
    assert torch.equal(patched({}, again, 1)["fc"], patched({}, patch, 1)["fc"])
    whole = after((1, 1)).whole()
    assert not unflatten_patch(flatten_patch(whole), 0, 2).steps


def test_a_step_that_is_as_large_as_the_matrix_is_not_kept():
    """2 * 1 + 1 * 2 numbers, as many as 2 * 2."""
    change = no_change({"fc": (2, 2)}, torch.float32)
    change = change.stepped({"fc": (torch.ones(2, 1), torch.ones(1, 2))})
    assert change.recent["fc"] == ()
    assert not change.patch(0).steps
