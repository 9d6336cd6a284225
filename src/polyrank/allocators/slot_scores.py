"""How much each slot of a module matters on a client, in three ways, for ``Needs.observes``.

Slot i is row a_i of ``a`` (r, d_in) with column b_i of ``b`` (d_out, r), and in the form
``b diag(e) a`` also the number e_i. A higher score is a slot that matters more; scores compare
within a client, over all its modules.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from polyrank.allocators.observing import Trained
from polyrank.errors import SettingsError

if TYPE_CHECKING:
    from torch import Tensor

    from polyrank.lora.factors import Factors, Part


def slot_change(before: "Factors", after: "Factors") -> "Tensor":
    """Return how far training has moved each slot, ``||b_i after - b_i before|| * ||a_i after||``.

    That is (r,) Frobenius norms of what the change of b adds to ``b_i a_i``; 0 where b is not
    trained. With e, ``e_i b_i`` stands for b_i: that is ours. Koo, Jang, Ok, "Towards Robust and
    Efficient Federated Low-Rank Adaptation with Heterogeneous Clients" (LoRA-A2), 2024,
    https://arxiv.org/abs/2410.22815, report that it chooses better than magnitude and
    sensitivity do.

    Example:
        >>> import torch
        >>> from polyrank.lora.factors import Factors
        >>> before = Factors(torch.ones(1, 2), torch.zeros(2, 1), torch.arange(1))
        >>> after = Factors(torch.tensor([[0.0, 2.0]]), torch.tensor([[3.0], [4.0]]), before.slots)
        >>> slot_change(before, after)
        tensor([10.])
    """
    moved = after.folded().b - before.folded().b
    return _norms(moved, 0) * _norms(after.a, 1)


def slot_magnitude(before: "Factors", after: "Factors") -> "Tensor":
    """Return how large each slot is after training: ``|e_i|``, without e ``||b_i|| * ||a_i||``.

    That is (r,) Frobenius norms of ``b_i a_i``, and with e the singular values where b and a have
    orthonormal columns and rows: what AdaLoRA compares importance with.
    """
    if after.e is not None:
        return after.e.abs().flatten()
    return _norms(after.b, 0) * _norms(after.a, 1)


@dataclass(frozen=True)
class SlotSensitivity:
    """Watch by how much the loss would change without each slot: AdaLoRA's importance.

    Zhang et al., "Adaptive Budget Allocation for Parameter-Efficient Fine-Tuning", 2023,
    https://arxiv.org/abs/2303.10512. For each weight w of a slot, from 0 over the optimiser steps
    of one local training::

        now = |w * gradient|
        I = beta1 * I + (1 - beta1) * now          smoothed sensitivity
        U = beta2 * U + (1 - beta2) * |now - I|    smoothed uncertainty
        s(w) = I * U

    The score of slot i is ``s(e_i) + mean_j s(a_ij) + mean_j s(b_ji)``, over those parts that
    are there and are trained.

    Ours: weights and gradients are those before the step and before clipping, so that ``now`` is
    the change of the loss to first order; their code looks after the step. Each local training
    begins anew, since a client may be away for many rounds.

    Args:
        beta1: of the sensitivity, from 0 to below 1.
        beta2: of the uncertainty, from 0 to below 1.

    Raises:
        SettingsError: a beta is out of range.
    """

    beta1: float = 0.85
    beta2: float = 0.85

    def __post_init__(self) -> None:
        for name, beta in (("beta1", self.beta1), ("beta2", self.beta2)):
            if not 0 <= beta < 1:
                raise SettingsError(f"{name}: expected a number from 0 to below 1, got {beta!r}")

    def watching(self, parameters: Trained) -> "SensitivityWatch":
        """Begin to watch a training."""
        return SensitivityWatch(self.beta1, self.beta2, parameters)


slot_sensitivity = SlotSensitivity()


class SensitivityWatch:
    """The watch of one training: two numbers in float32 for each trained weight of its slots.

    Args:
        beta1: of the sensitivity.
        beta2: of the uncertainty.
        parameters: module -> part -> parameter.
    """

    def __init__(self, beta1: float, beta2: float, parameters: Trained) -> None:
        self.beta1, self.beta2 = beta1, beta2
        self.parameters = parameters
        self._state = {m: {p: _zeros(w) for p, w in of.items()} for m, of in parameters.items()}

    def step(self) -> None:
        """See the gradients of one step; a parameter that it did not reach has gradient 0."""
        for module, parts in self.parameters.items():
            for part, weight in parts.items():
                sensitivity, uncertainty = self._state[module][part]
                now = weight.detach().float().abs()
                now *= 0.0 if weight.grad is None else weight.grad.float().abs()
                sensitivity.lerp_(now, 1 - self.beta1)
                uncertainty.lerp_(now.sub_(sensitivity).abs_(), 1 - self.beta2)

    def result(self) -> "dict[str, Tensor]":
        """Return the score of each slot, by module: (r,)."""
        return {module: _scores(parts) for module, parts in self._state.items()}


def _zeros(weight: "Tensor") -> "tuple[Tensor, Tensor]":
    start = weight.detach().float()
    return start.new_zeros(start.shape), start.new_zeros(start.shape)


def _scores(parts: "Mapping[Part, tuple[Tensor, Tensor]]") -> "Tensor":
    """Add up each slot's mean score in every part."""
    each = [(part.axis, first * second) for part, (first, second) in parts.items()]
    means = [score.movedim(axis, 0).reshape(score.shape[axis], -1).mean(1) for axis, score in each]
    return sum(means[1:], means[0])


def _norms(factor: "Tensor", along: int) -> "Tensor":
    return factor.square().sum(along).sqrt()
