"""Factors of any rank, multiplied at the next multiple of eight.

torch's matrix library compiles a kernel for each new shape of a bfloat16 product on a CPU, and
keeps it. A model whose modules have many different ranks, times texts of many lengths, has more
shapes than it keeps: with a BERT of six layers a step took 125 ms in place of 85, and the process
1.6 GB in place of 0.9. Slots of zeros change no product and get no gradient; the parameters
themselves keep their rank.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from torch import Tensor, nn
from torch.nn import functional

if TYPE_CHECKING:
    from peft.tuners.lora import LoraLayer

_MULTIPLE = 8


class PaddedA(nn.Linear):
    """A linear layer (r, d_in) with outputs of zeros up to a multiple of eight."""

    def forward(self, input: Tensor) -> Tensor:
        """Return (..., r and more) of (..., d_in)."""
        more = -len(self.weight) % _MULTIPLE
        return functional.linear(input, functional.pad(self.weight, (0, 0, 0, more)))


class PaddedB(nn.Linear):
    """A linear layer (d_out, r) for the inputs that ``PaddedA`` makes."""

    def forward(self, input: Tensor) -> Tensor:
        """Return (..., d_out) of (..., r and more)."""
        more = -self.weight.shape[1] % _MULTIPLE
        return functional.linear(input, functional.pad(self.weight, (0, more)))


def pad_ranks(layer: LoraLayer, adapter: str) -> None:
    """Let a layer of PEFT multiply one adapter's factors at a multiple of eight slots.

    Args:
        layer: a convolution stays as it is: it has one shape of inputs.
        adapter: the name of the factors in the layer.
    """
    for held, kind in ((layer.lora_A, PaddedA), (layer.lora_B, PaddedB)):
        plain: Any = held[adapter]
        if isinstance(plain, nn.Linear):
            padded = kind(plain.in_features, plain.out_features, bias=False, device="meta")
            padded.weight = plain.weight
            held[adapter] = padded
