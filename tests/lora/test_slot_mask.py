"""Slot numbers as bits."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from polyrank.lora.slot_mask import mask_bytes, packed_slots, unpacked_slots


@given(st.sets(st.integers(0, 3000), max_size=50))
def test_slots_come_back_as_they_were_and_are_as_long_as_is_said(numbers):
    slots = torch.tensor(sorted(numbers), dtype=torch.int64)
    packed = packed_slots(slots)
    assert torch.equal(unpacked_slots(packed), slots)
    assert unpacked_slots(packed).dtype == torch.int64
    assert mask_bytes(slots) == (packed.nbytes if len(slots) else 0)


@pytest.mark.parametrize(
    "odd",
    [
        torch.tensor([2, 1]),
        torch.tensor([1, 1]),
        torch.tensor([-1, 2]),
        torch.tensor([0, 2**40]),
        torch.tensor([0.5, 1.0]),
        torch.tensor([[0, 1]]),
    ],
    ids=str,
)
def test_what_are_no_slots_travels_as_it_is(odd):
    assert packed_slots(odd) is odd
    assert unpacked_slots(odd) is odd
