"""Linear layers with weights in 4 bits (NF4), and how to unpack such weights.

Dettmers, Pagnoni, Holtzman, Zettlemoyer, "QLoRA: Efficient Finetuning of Quantized LLMs",
2023, https://arxiv.org/abs/2305.14314. Blocks of 64 weights share a scale; the scales are
held in 8 bits, 256 of them to a scale of their own (double quantisation).

The paper computes in bfloat16. Here a layer computes in the type of its inputs, float32, or
in that of ``training.autocast``, on every device. The layer of bitsandbytes itself does not
forget: the first input fixes its type, a bias is rounded where it stands, and processors with
AVX512-BF16 get other weights after an evaluation, so that answers would depend on what a
process has done before.
"""

from collections.abc import Mapping

import bitsandbytes
import torch
from bitsandbytes.functional import dequantize_4bit
from bitsandbytes.nn import Linear4bit, Params4bit
from torch import Tensor, nn

from polyrank.errors import SettingsError
from polyrank.models.packed import packed_modules


class FourBitLinear(Linear4bit):  # type: ignore[misc]
    """A linear layer to put packed weights into, which are then used without a copy.

    Args:
        like: has the same size, and a bias or none.
    """

    def __init__(self, like: nn.Linear) -> None:
        bias = like.bias is not None
        super().__init__(like.in_features, like.out_features, bias, torch.float32, device="meta")
        self.train(like.training)

    def forward(self, x: Tensor) -> Tensor:
        """Map inputs (..., d_in) to (..., d_out)."""
        kind, device = x.dtype, x.device.type
        if torch.is_autocast_enabled(device):
            kind = torch.get_autocast_dtype(device)
        bias = None if self.bias is None else self.bias.to(kind)
        state = self.weight.quant_state
        answers: Tensor = bitsandbytes.matmul_4bit(x.to(kind), self.weight, state, bias=bias)
        return answers

    def _load_from_state_dict(
        self, state_dict: dict[str, Tensor], prefix: str, *rest: object
    ) -> None:
        name = f"{prefix}weight"
        about = _about(state_dict, name)
        if name in state_dict and not about:
            raise SettingsError(f"{name}: expected a weight packed in 4 bits, got one that is not")
        state_dict = {n: t for n, t in state_dict.items() if not n.startswith(f"{name}.")}
        if about:
            packed = state_dict[name]
            self.weight = Params4bit.from_prequantized(packed, about, device=packed.device)
            state_dict[name] = self.weight
        super()._load_from_state_dict(state_dict, prefix, *rest)


def at_full_precision(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the numbers that packed weights stand for, (d_out, d_in), and all others as is."""
    plain = dict(weights)
    for module in packed_modules(weights):
        name = f"{module}.weight"
        about = _about(weights, name)
        held = Params4bit.from_prequantized(weights[name], about, device=weights[name].device)
        plain = {n: t for n, t in plain.items() if not n.startswith(f"{name}.")}
        plain[name] = dequantize_4bit(held.data, held.quant_state)
    return plain


def _about(weights: Mapping[str, Tensor], name: str) -> dict[str, Tensor]:
    """Return what unpacks a weight, by the names that bitsandbytes wants."""
    start = f"{name}."
    return {n.removeprefix(start): t for n, t in weights.items() if n.startswith(start)}
