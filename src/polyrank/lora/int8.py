"""Factors and heads in eight bits: whole numbers from -127 to 127, and one scale a slot.

A slot's row of ``a``, or column of ``b``, is ``scale * number``, with its largest magnitude at
127; so is each row of a head. Nothing is off by more than half a scale, and a slot of small
numbers loses no more of itself than one of large ones. What has one number a slot (``e``), one
dimension (biases) or whole numbers (counters) stays as it is.

Symmetric quantisation by the largest magnitude, as in Jacob et al., "Quantization and Training
of Neural Networks for Efficient Integer-Arithmetic-Only Inference", 2018,
https://arxiv.org/abs/1712.05877; FLoCoRA (https://arxiv.org/abs/2406.14082) sends LoRA factors so.
"""

from dataclasses import dataclass, field

import torch
from torch import Tensor

from polyrank.lora.factors import Adapter, Factors, Part, Tensors, of_parts

LARGEST = 127


@dataclass(frozen=True)
class Packed:
    """An adapter and extras as they travel.

    Args:
        adapter: factors, of which those with a scale are int8.
        extras: tensors that are not LoRA, likewise.
        scales: by the names that ``factor_name`` and ``extra_name`` give: (r,), one a slot, or
            (n,), one a row of an extra; in the type that the numbers are in.
    """

    adapter: Adapter
    extras: Tensors
    scales: Tensors = field(default_factory=dict)

    def opened(self) -> tuple[Adapter, Tensors]:
        """Return the adapter and the extras in full, with what rounding has lost of them."""
        if not self.scales:
            return self.adapter, self.extras
        adapter = {m: self._factors(m, f) for m, f in self.adapter.items()}
        extras = {}
        for name, tensor in self.extras.items():
            scales = self.scales.get(extra_name(name))
            extras[name] = tensor if scales is None else scaled_up(tensor, scales, 0)
        return adapter, extras

    def _factors(self, module: str, factors: Factors) -> Factors:
        found = {}
        for part, tensor in factors.tensors.items():
            scales = self.scales.get(factor_name(module, part))
            found[part] = tensor if scales is None else scaled_up(tensor, scales, part.axis)
        return of_parts(found, factors.slots)


def packed(adapter: Adapter, extras: Tensors) -> Packed:
    """Round an adapter and extras to eight bits, but for what stays as it is.

    Example:
        >>> f = Factors(torch.tensor([[0.5, -1.27]]), torch.tensor([[12.7]]), torch.arange(1))
        >>> small = packed({"fc": f}, {"bias": torch.ones(3)})
        >>> small.adapter["fc"].a.tolist(), small.scales["adapter/fc/b"].tolist()
        ([[50, -127]], [0.09999999403953552])
    """
    scales: dict[str, Tensor] = {}
    modules, others = {}, dict(extras)
    for module, factors in adapter.items():
        found = dict(factors.tensors)
        for part in packed_parts(factors):
            numbers, scales[factor_name(module, part)] = scaled_down(found[part], part.axis)
            found[part] = numbers
        modules[module] = of_parts(found, factors.slots)
    for name, tensor in extras.items():
        if is_packed(tensor):
            others[name], scales[extra_name(name)] = scaled_down(tensor, 0)
    return Packed(modules, others, scales)


def packed_parts(factors: Factors) -> list[Part]:
    """Return those factors that travel in eight bits."""
    return [part for part in (Part.A, Part.B) if part in factors.parts]


def is_packed(extra: Tensor) -> bool:
    """Tell whether an extra travels in eight bits: floats, of two dimensions or more."""
    return extra.is_floating_point() and extra.dim() > 1 and extra.numel() > 0


def factor_name(module: str, part: Part) -> str:
    """Name the scales of a factor."""
    return f"adapter/{module}/{part.value}"


def extra_name(name: str) -> str:
    """Name the scales of an extra."""
    return f"extras/{name}"


def scaled_down(tensor: Tensor, axis: int) -> tuple[Tensor, Tensor]:
    """Return int8 numbers of the same shape, and a scale for each place along an axis."""
    wide = tensor.to(torch.promote_types(tensor.dtype, torch.float32))
    largest = wide.abs().amax([d for d in range(tensor.dim()) if d != axis])
    scales = (largest / LARGEST).to(tensor.dtype)
    across = _across(scales, tensor, axis).to(wide.dtype)
    numbers = torch.where(across > 0, wide / across, 0.0).round()
    return numbers.clamp(-LARGEST, LARGEST).to(torch.int8), scales


def scaled_up(numbers: Tensor, scales: Tensor, axis: int) -> Tensor:
    """Undo ``scaled_down``, in the type of the scales; the same bits wherever it is done."""
    across = _across(scales, numbers, axis)
    wide = torch.promote_types(scales.dtype, torch.float32)
    return (numbers.to(wide) * across.to(wide)).to(scales.dtype)


def _across(scales: Tensor, tensor: Tensor, axis: int) -> Tensor:
    return scales.reshape([-1 if d == axis else 1 for d in range(tensor.dim())])
