"""What a client sends of its change, and what it keeps for the next time."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from polyrank.lora.changes import cut_change, with_rounding
from polyrank.lora.factors import Factors, prefix
from polyrank.lora.int8 import packed

D_IN, D_OUT = 9, 7


def draw(rank: int, seed: int, dtype=torch.float32, shape=(D_IN, D_OUT)) -> Factors:
    generator = torch.Generator().manual_seed(seed)
    a = torch.randn(rank, shape[0], generator=generator)
    b = torch.randn(shape[1], rank, generator=generator)
    return Factors(a.to(dtype), b.to(dtype), prefix(rank))


def dense(factors: Factors) -> np.ndarray:
    return factors.b.double().numpy() @ factors.a.double().numpy()


def change(before: Factors, after: Factors) -> np.ndarray:
    return dense(after) - dense(before)


@given(
    rank=st.integers(1, 9),
    error=st.floats(0, 0.9),
    seed=st.integers(0, 99),
    owed=st.integers(0, 4),
)
@settings(max_examples=60, deadline=None)
def test_it_is_the_smallest_rank_that_loses_at_most_the_share(rank, error, seed, owed):
    """Against numpy's SVD of the change written out, with what was owed at half its weight."""
    before, after = draw(rank, seed), draw(rank, seed + 1)
    left = draw(owed, seed + 2)
    whole = change(before, after) + 0.5 * dense(left)
    cut = cut_change(before, after, (left, 0.5), error=error, most=99)
    energy = np.linalg.svd(whole, compute_uv=False) ** 2
    shares = np.append(energy[::-1].cumsum()[::-1], 0) / energy.sum()  # lost at rank 0, 1, ...
    found = cut.sent.rank
    assert shares[found] <= error + 1e-6
    assert found == 0 or shares[found - 1] > error - 1e-6
    assert cut.share == pytest.approx(1 - shares[found], abs=1e-6)


@given(rank=st.integers(1, 9), most=st.integers(0, 9), seed=st.integers(0, 99))
@settings(max_examples=60, deadline=None)
def test_what_is_sent_and_what_is_left_are_the_change(rank, most, seed):
    before, after = draw(rank, seed), draw(rank, seed + 1)
    cut = cut_change(before, after, error=0.1, most=most)
    assert cut.sent.rank <= most
    np.testing.assert_allclose(dense(cut.sent) + dense(cut.left), change(before, after), atol=1e-5)
    np.testing.assert_allclose(dense(cut.sent).T @ dense(cut.left), 0, atol=1e-4)


def test_without_an_error_all_of_it_is_sent_and_nothing_is_left():
    before, after = draw(2, 0), draw(2, 1)
    cut = cut_change(before, after, error=0.0, most=4)
    assert (cut.sent.rank, cut.left.rank) == (4, 0)
    np.testing.assert_allclose(dense(cut.sent), change(before, after), atol=1e-5)


@pytest.mark.parametrize("error", [0.0, 0.2])
def test_no_change_is_rank_0_though_factors_are_turned(error):
    """The same product in another basis differs by rounding alone."""
    before = draw(3, 0)
    turn = torch.linalg.qr(torch.randn(3, 3, generator=torch.Generator().manual_seed(1))).Q
    after = Factors(turn.T @ before.a, before.b @ turn, prefix(3))
    for same in (before, after):
        cut = cut_change(before, same, error=error, most=9)
        assert (cut.sent.rank, cut.left.rank, cut.share) == (0, 0, 1.0)


def test_pairs_are_balanced_the_largest_first_and_of_the_type_of_the_factors():
    cut = cut_change(draw(3, 0, torch.bfloat16), draw(3, 1, torch.bfloat16), error=0.1, most=9)
    norms_a, norms_b = cut.sent.a.float().norm(dim=1), cut.sent.b.float().norm(dim=0)
    torch.testing.assert_close(norms_a, norms_b, rtol=0.02, atol=0)
    assert norms_a.tolist() == sorted(norms_a.tolist(), reverse=True)
    assert cut.sent.a.dtype == torch.bfloat16


def test_what_is_left_has_half_the_slots_and_a_few_at_most():
    left = draw(18, 5, shape=(30, 30))
    before, after = draw(4, 0, shape=(30, 30)), draw(4, 1, shape=(30, 30))
    cut = cut_change(before, after, (left, 1.0), error=0.1, most=1)
    assert (cut.sent.rank, cut.left.rank) == (1, 8 + 2)


def test_slots_that_began_empty_change_nothing_but_by_training():
    before = draw(3, 0)
    empty = replace(draw(2, 1), slots=torch.tensor([3, 4]), b=torch.zeros(D_OUT, 2))
    after = draw(5, 2)
    cut = cut_change(before.with_slots(empty), after, error=0.0, most=20)
    torch.testing.assert_close(
        cut.sent.b @ cut.sent.a, after.b @ after.a - before.b @ before.a, atol=1e-5, rtol=1e-4
    )


def test_with_feedback_the_sum_of_what_is_sent_reaches_the_sum_of_the_changes():
    """The same change twenty times, of which one triple is sent each time; without it, never."""
    before, after = draw(3, 0), draw(3, 1)
    for weight, close in ((1.0, True), (0.0, False)):
        owed, total = None, np.zeros((D_OUT, D_IN))
        for _ in range(20):
            cut = cut_change(before, after, owed, error=0.1, most=1)
            owed = (cut.left, 1.0) if weight else None
            total += dense(cut.sent)
        missed = np.linalg.norm(total / 20 - change(before, after))
        assert (missed < 0.15 * np.linalg.norm(change(before, after))) == close


def test_what_rounding_loses_of_what_is_sent_is_left_too():
    """Sent in eight bits, and left: together they are the change; the next cut counts it."""
    before, after = draw(3, 0), draw(3, 1)
    cut = cut_change(before, after, error=0.2, most=9)
    came = packed({"fc": cut.sent}, {}).opened()[0]["fc"]
    assert np.abs(dense(came) - dense(cut.sent)).max() > 1e-3
    left = with_rounding(cut.left, cut.sent, came)
    np.testing.assert_allclose(dense(came) + dense(left), change(before, after), atol=1e-5)
    more = cut_change(before, before, (left, 1.0), error=0.0, most=9)
    np.testing.assert_allclose(dense(more.sent), dense(left), atol=1e-5)
