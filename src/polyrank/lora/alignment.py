"""Bring tensors into torch's own memory layout, so that products of them have the same bits.

A product of the same numbers may differ in its last bit with the address that they lie at, or
with the order of rows and columns in memory: a kernel that loads many numbers at once treats
what is left over in another order. Torch puts what it makes itself at multiples of 64 bytes. A
mapped file, the bytes of a message, a view and a NumPy array begin anywhere, so that a run that
was resumed, or has workers, would end with other bits than one in a single process.
"""

from collections.abc import Mapping

import torch
from torch import Tensor

ALIGNED = 64  # bytes; what torch's own allocator keeps to


def aligned(tensor: Tensor) -> Tensor:
    """Return a contiguous tensor that starts at a multiple of 64 bytes; copied only if needed.

    Example:
        >>> eight = torch.arange(8)
        >>> aligned(eight) is eight, aligned(eight[1:]).data_ptr() % 64
        (True, 0)
    """
    if tensor.layout != torch.strided:
        return tensor
    if tensor.is_contiguous() and tensor.data_ptr() % ALIGNED == 0:
        return tensor
    return tensor.clone(memory_format=torch.contiguous_format)


def all_aligned(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return named tensors, each laid out as ``aligned`` does."""
    return {name: aligned(tensor) for name, tensor in tensors.items()}
