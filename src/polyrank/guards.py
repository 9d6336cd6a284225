"""What an update must be before it may touch the global model."""

import math
from collections.abc import Mapping
from types import MappingProxyType

import torch
from torch import Tensor

from polyrank.adapter import Adapter, Tensors
from polyrank.messages import TrainTask, Update

NONE: Mapping[str, int] = MappingProxyType({})


def refusal(
    update: Update, task: TrainTask, expected: Adapter, cut: Mapping[str, int] = NONE
) -> str | None:
    """Return why an update is refused, in plain words, or None if it is good.

    Args:
        update: what came back.
        task: what was sent; the update must have its extras' names, shapes and types.
        expected: has the names, shapes, types and slots that the update's adapter must have.
        cut: module -> the smaller number of slots to which its client may have cut it.
    """
    if update.id != task.id:
        return f"answers {update.id}, expected {task.id}"
    if not (math.isfinite(update.examples) and update.examples > 0):
        return f"{update.examples} examples: expected a finite number above 0"
    return _adapter_refusal(update.adapter, expected, cut) or _extras_refusal(
        update.extras, task.download.extras
    )


def _adapter_refusal(came: Adapter, expected: Adapter, cut: Mapping[str, int]) -> str | None:
    if came.keys() != expected.keys():
        return f"modules {sorted(came)}, expected {sorted(expected)}"
    for module, like in expected.items():
        factors = came[module]
        if factors.rank == cut.get(module):
            like = like.take(like.slots[: factors.rank])
        if not torch.equal(factors.slots, like.slots):
            return f"module {module!r}: slots {_short(factors.slots)} are not the client's"
        for part in ("a", "b"):
            reason = _tensor_refusal(getattr(factors, part), getattr(like, part))
            if reason:
                return f"module {module!r}, factor {part}: {reason}"
    return None


def _extras_refusal(came: Tensors, sent: Tensors) -> str | None:
    if came.keys() != sent.keys():
        return f"extras {sorted(came)}, expected {sorted(sent)}"
    for name, expected in sent.items():
        reason = _tensor_refusal(came[name], expected)
        if reason:
            return f"extra {name!r}: {reason}"
    return None


def _tensor_refusal(came: Tensor, expected: Tensor) -> str | None:
    if came.shape != expected.shape or came.dtype != expected.dtype:
        return (
            f"shape {tuple(came.shape)} of {came.dtype}, "
            f"expected {tuple(expected.shape)} of {expected.dtype}"
        )
    if came.is_floating_point() and not torch.isfinite(came).all():
        bad = int((~torch.isfinite(came)).sum())
        return f"{bad} of {came.numel()} numbers are NaN or infinite"
    return None


def _short(slots: Tensor) -> str:
    numbers = slots.tolist()
    return str(numbers) if len(numbers) < 9 else f"[{numbers[0]} .. {numbers[-1]}]"
