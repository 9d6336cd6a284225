"""Slot numbers as they travel: one bit for each number up to the largest."""

import numpy as np
import torch
from torch import Tensor

LARGEST = 2**20  # a mask of a wrong number would take memory without need


def packed_slots(slots: Tensor) -> Tensor:
    """Pack rising slot numbers (r,) int64 into bits, (largest // 8 + 1,) uint8.

    Anything else is returned as it is, for the guards to judge on the other side.

    Example:
        >>> packed_slots(torch.tensor([0, 2, 9])).tolist()
        [5, 2]
    """
    if slots.dtype != torch.int64 or slots.dim() != 1 or not len(slots):
        return slots
    if slots[0] < 0 or slots[-1] >= LARGEST or (slots.diff() <= 0).any():
        return slots
    marks = torch.zeros(int(slots[-1]) + 1, dtype=torch.bool)
    marks[slots] = True
    return torch.from_numpy(np.packbits(marks.numpy(), bitorder="little"))


def unpacked_slots(packed: Tensor) -> Tensor:
    """Undo ``packed_slots``."""
    if packed.dtype != torch.uint8 or packed.dim() != 1:
        return packed
    return torch.from_numpy(np.flatnonzero(np.unpackbits(packed.numpy(), bitorder="little")))


def mask_bytes(slots: Tensor) -> int:
    """Return the bytes of rising slot numbers as they travel."""
    return int(slots[-1]) // 8 + 1 if len(slots) else 0
