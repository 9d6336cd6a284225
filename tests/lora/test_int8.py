"""Factors and heads in eight bits."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from polyrank.lora.factors import B, Factors, prefix
from polyrank.lora.int8 import Packed, packed, scaled_down, scaled_up

TYPES = [torch.float32, torch.float64, torch.bfloat16]


def draw(rank: int, seed: int = 0, dtype=torch.float32) -> Factors:
    generator = torch.Generator().manual_seed(seed)
    a = torch.randn(rank, 9, generator=generator)
    b = torch.randn(7, rank, generator=generator) * torch.logspace(-6, 3, rank)
    return Factors(a.to(dtype), b.to(dtype), prefix(rank))


@given(
    shape=st.sampled_from([(4, 9), (1, 1), (5, 2, 3)]),
    axis=st.integers(0, 1),
    size=st.floats(1e-30, 1e30),
    seed=st.integers(0, 99),
)
@settings(max_examples=60, deadline=None)
def test_nothing_is_off_by_more_than_half_a_scale(shape, axis, size, seed):
    """Against numpy, place by place along the axis."""
    given = torch.randn(shape, generator=torch.Generator().manual_seed(seed)) * size
    numbers, scales = scaled_down(given, axis)
    came = scaled_up(numbers, scales, axis)
    assert (numbers.dtype, scales.dtype, came.dtype) == (torch.int8, given.dtype, given.dtype)
    rows = np.moveaxis(given.double().numpy(), axis, 0).reshape(shape[axis], -1)
    back = np.moveaxis(came.double().numpy(), axis, 0).reshape(shape[axis], -1)
    np.testing.assert_allclose(scales.numpy(), np.abs(rows).max(1) / 127, rtol=1e-6)
    assert (np.abs(rows - back).max(1) <= 0.50001 * scales.double().numpy()).all()


@pytest.mark.parametrize("dtype", TYPES)
def test_a_slot_has_a_scale_of_its_own_whatever_the_others_are(dtype):
    """Columns of ``b`` from 1e-6 to 1e3: each is off by less than a hundredth of its largest."""
    factors = draw(4, dtype=dtype)
    adapter, _ = packed({"fc": factors}, {}).opened()
    for mine, came, across in (
        (factors.a, adapter["fc"].a, 1),
        (factors.b, adapter["fc"].b, 0),
    ):
        assert came.dtype == dtype
        off = (mine - came).abs().amax(across) / mine.abs().amax(across)
        assert 0 < off.max() < 0.01


def test_zeros_numbers_too_small_for_a_scale_and_no_slots_stay_what_they_are():
    factors = Factors(torch.zeros(2, 3), torch.full((4, 2), 1e-45), prefix(2))
    adapter, _ = packed({"fc": factors, "none": draw(0)}, {}).opened()
    assert not adapter["fc"].a.any()
    assert torch.isfinite(adapter["fc"].b).all()
    assert adapter["none"].a.shape == (0, 9)


def test_what_is_sent_on_is_the_same_to_the_bit():
    """Packed numbers that are opened and packed again are the same numbers."""
    once = packed({"fc": draw(4)}, {"head": torch.randn(3, 5)})
    twice = packed(*once.opened())
    assert torch.equal(once.adapter["fc"].b, twice.adapter["fc"].b)
    assert torch.equal(once.extras["head"], twice.extras["head"])


def test_the_third_factor_biases_counters_and_what_is_not_sent_stay_as_they_are():
    e = torch.randn(4, 1)
    factors = Factors(draw(4).a, draw(4).b, prefix(4), e)
    extras = {"bias": torch.randn(3), "count": torch.tensor(7), "table": torch.ones(2, 2).int()}
    small = packed({"fc": factors, "half": draw(2).only(B)}, extras)
    assert torch.equal(small.adapter["fc"].e, e)
    assert all(small.extras[name] is tensor for name, tensor in extras.items())
    assert small.adapter["half"].a.shape == (2, 0)
    assert {*small.scales} == {"adapter/fc/a", "adapter/fc/b", "adapter/half/b"}


def test_a_convolutions_head_has_a_scale_for_each_of_its_outputs():
    head = torch.randn(5, 2, 3, 3)
    small = packed({}, {"head": head})
    assert small.scales["extras/head"].shape == (5,)
    torch.testing.assert_close(small.opened()[1]["head"], head, atol=0.02, rtol=0)


def test_without_scales_nothing_is_opened():
    adapter, extras = {"fc": draw(2)}, {"whole": torch.ones(2, 2, dtype=torch.int8)}
    whole = Packed(adapter, extras).opened()
    assert whole[0] is adapter
    assert whole[1] is extras
