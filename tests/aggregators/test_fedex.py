"""FedEx-LoRA: the mean of the factors, and what its product misses."""

import torch

from polyrank.aggregators.fedex import mean_and_residual
from polyrank.lora.factors import Factors, prefix


def one(a: float, b: float) -> Factors:
    return Factors(torch.full((1, 1), a), torch.full((1, 1), b), prefix(1))


def test_by_hand():
    """Weights 1 and 3: a = (1 + 3 * 3) / 4, b as well, 2.5; the products' mean is 28 / 4."""
    moved = mean_and_residual([(one(1.0, 1.0), 1.0), (one(3.0, 3.0), 3.0)], one(9.0, 9.0))
    assert (moved.factors.a.item(), moved.factors.b.item()) == (2.5, 2.5)
    residual = moved.step[0] if len(moved.step) == 1 else moved.step[0] @ moved.step[1]
    assert residual.item() == 7 - 2.5**2


def test_without_updates_nothing_moves():
    moved = mean_and_residual([], one(9.0, 9.0))
    assert torch.equal(moved.factors.a, one(9.0, 9.0).a)
    assert not (moved.step[0] if len(moved.step) == 1 else moved.step[0] @ moved.step[1]).any()
