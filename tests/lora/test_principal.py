"""A product taken apart into orthogonal parts."""

import pytest
import torch

from polyrank.lora.principal import principal

SHAPES = [(30, 5, 20), (20, 5, 30), (6, 9, 40), (40, 9, 6), (1, 3, 1), (8, 8, 8)]


def draw(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed)).double()


@pytest.mark.parametrize("shape", SHAPES)
def test_the_parts_are_orthogonal_and_add_up_whichever_side_is_smaller(shape):
    d_out, n, d_in = shape
    b, a = draw(d_out, n), draw(n, d_in, seed=1)
    parts = principal(b, a)
    left, right = parts.between(0, n)
    torch.testing.assert_close(left @ right, b @ a)
    torch.testing.assert_close(left.T @ left, torch.eye(left.shape[1]).double())
    torch.testing.assert_close(right @ right.T, parts.energy.diag())
    values = torch.linalg.svdvals(b @ a)[: len(parts.energy)]
    torch.testing.assert_close(parts.energy.sqrt(), values)


def test_columns_that_nearly_repeat_lose_nothing():
    """As factors before and after a short training are: their difference is what counts."""
    b, a, step = draw(50, 8), draw(8, 40, seed=1), 1e-6 * draw(50, 8, seed=2)
    parts = principal(torch.cat([b + step, -b], dim=1), torch.cat([a, a]))
    left, right = parts.between(0, 8)
    torch.testing.assert_close(left @ right, step @ a, rtol=1e-6, atol=1e-12)


def test_a_product_of_0_has_no_parts():
    parts = principal(torch.zeros(5, 3).double(), draw(3, 4))
    assert len(parts.energy) == 0
    assert [x.shape for x in parts.between(0, 3)] == [(5, 0), (0, 4)]
