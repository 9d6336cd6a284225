"""Convolutions that add their factors to the weight, and convolve once.

PEFT's layer computes ``W(x) + s * B(A(x))``, and ``A`` has the kernel of ``W``: where a layer has
few channels that costs as much again as the convolution itself. ``W + s * (B @ A)`` is the same
map, and the product of the factors costs next to nothing: steps of narrow convolutional models
take a third to a half less time on a CPU (``benchmarks/convolutions.py``). In half precision such
a sum would lose small changes, so PEFT's way stays there.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.func import functional_call

from polyrank.peft_bridge.diagonal import diagonal

if TYPE_CHECKING:
    from peft.tuners.lora import LoraLayer


def fold(layer: LoraLayer) -> None:
    """Let a convolution of PEFT in single precision convolve once; any other layer stays.

    Args:
        layer: counts with the factors that it has when it is called.
    """
    base: Any = layer.get_base_layer()
    plain = layer.forward
    if not isinstance(base, nn.Conv2d) or base.weight.dtype != torch.float32:
        return

    def forward(x: Tensor) -> Tensor:
        if layer.disable_adapters or torch.is_autocast_enabled(x.device.type):
            found: Tensor = plain(x)
        else:
            found = functional_call(base, {"weight": _changed(base.weight, layer)}, (x,))
        return found

    layer.forward = forward


def _changed(weight: Tensor, layer: LoraLayer) -> Tensor:
    for name in layer.active_adapters:
        a, b = layer.lora_A[name].weight, layer.scaling[name] * layer.lora_B[name].weight.flatten(1)
        e = diagonal(layer.lora_B[name])
        product = (b if e is None else b * e.T) @ a.flatten(1)
        weight = weight + product.view_as(weight)  # in the order of the weight in memory
    return weight
