"""The number of each slot in SVD form, between PEFT's two layers.

PEFT's layer computes ``B(A(x))``. In SVD form its ``B`` multiplies what comes in by ``e``, one
number a slot, with a hook before its own forward pass; ``e`` is a parameter of that layer, so
that it trains as the weights do. In plain LoRA there is neither.
"""

from typing import Any

from torch import Tensor, nn
from torch.nn import functional

_HOOK = "e_hook"


def put_diagonal(layer: nn.Module, e: nn.Parameter | None) -> None:
    """Let PEFT's ``B`` multiply its input by ``e``; None removes it.

    Args:
        layer: a Linear, whose input is (..., r), or a convolution, whose input is (n, r, h, w).
        e: (r, 1).
    """
    if e is not None:
        if not hasattr(layer, _HOOK):
            setattr(layer, _HOOK, layer.register_forward_pre_hook(_multiplied))
        layer.register_parameter("e", e)
    elif hasattr(layer, _HOOK):
        getattr(layer, _HOOK).remove()
        delattr(layer, _HOOK)
        del layer.e


def diagonal(layer: nn.Module) -> nn.Parameter | None:
    """Return the ``e`` (r, 1) of PEFT's ``B``, None in plain LoRA."""
    return layer._parameters.get("e")


def _multiplied(layer: Any, inputs: tuple[Tensor]) -> tuple[Tensor]:  # noqa: ANN401
    (x,) = inputs
    behind = (1,) * (layer.weight.dim() - 2)  # height and width of a convolution
    e = layer.e.view(-1, *behind)
    if more := x.shape[-1 - len(behind)] - len(e):  # from a padded ``A``
        e = functional.pad(e, (0, more))
    return (x * e,)
