import numpy as np
import pytest
import torch

from polyrank.aggregators.flexlora import mean_product
from polyrank.lora.factors import Factors, prefix


def draw(
    slots: torch.Tensor | int, seed: int, d_in: int = 11, d_out: int = 8, dtype=torch.float64
) -> Factors:
    slots = prefix(slots) if isinstance(slots, int) else slots
    generator = torch.Generator().manual_seed(seed)
    a = torch.randn(len(slots), d_in, generator=generator, dtype=dtype)
    return Factors(a, torch.randn(d_out, len(slots), generator=generator, dtype=dtype), slots)


def dense_mean(updates: list[tuple[Factors, float]]) -> np.ndarray:
    total = sum(weight for _, weight in updates)
    return sum(w / total * f.b.double().numpy() @ f.a.double().numpy() for f, w in updates)


MIXED = [(draw(1, 1), 3.0), (draw(torch.tensor([2, 5]), 2), 1.0), (draw(3, 3), 2.5)]


@pytest.mark.parametrize("svd", ["exact", "randomised"])
@pytest.mark.parametrize("split", ["balanced", "left", "right"])
def test_the_mean_of_products_of_any_ranks_and_slots_comes_back(split, svd):
    result = mean_product(MIXED, draw(7, 0), split=split, svd=svd)
    np.testing.assert_allclose(result.b @ result.a, dense_mean(MIXED), atol=1e-12)


def test_by_hand():
    """Weights 1 and 3: (1 * 4 + 3 * 8) / 4 = 7 at one place, the triple e1, 7, e2."""
    one = Factors(torch.tensor([[0.0, 4.0]]), torch.tensor([[1.0], [0], [0]]), prefix(1))
    two = Factors(torch.tensor([[0.0, -2.0]]), torch.tensor([[-4.0], [0], [0]]), prefix(1))
    previous = Factors(torch.ones(2, 2), torch.ones(3, 2), prefix(2))
    left = mean_product([(one, 1.0), (two, 3.0)], previous, split="left")
    torch.testing.assert_close(left.b, torch.tensor([[7.0, 0], [0, 0], [0, 0]]))
    torch.testing.assert_close(left.a, torch.tensor([[0.0, 1], [0, 0]]))


def test_too_few_slots_keep_the_best_approximation():
    """Eckart and Young: what is cut off is the tail of NumPy's singular values."""
    updates = [(draw(3, 1), 3.0), (draw(torch.tensor([1, 3]), 2), 1.0), (draw(2, 3), 2.5)]
    mean = dense_mean(updates)
    result = mean_product(updates, draw(4, 0))
    tail = np.linalg.svd(mean, compute_uv=False)[4:]
    cut = np.linalg.norm(mean - (result.b @ result.a).numpy())
    assert cut == pytest.approx(np.linalg.norm(tail), rel=1e-9)


def test_the_first_slots_are_the_best_for_a_client_of_lower_rank():
    mean, result = dense_mean(MIXED), mean_product(MIXED, draw(7, 0))
    few = result.take(prefix(2))
    tail = np.linalg.svd(mean, compute_uv=False)[2:]
    assert np.linalg.norm(mean - (few.b @ few.a).numpy()) == pytest.approx(np.linalg.norm(tail))


def test_nothing_remains_of_what_only_an_absent_client_holds():
    previous = draw(7, 0)
    present = draw(2, 1)
    result = mean_product([(present, 1.0)], previous)
    np.testing.assert_allclose(result.b @ result.a, present.b @ present.a, atol=1e-12)
    assert not result.a[2:].any()


def test_many_clients_are_folded_without_loss():
    """Sixty of rank 3 stack 180 columns of at most rank 8."""
    updates = [(draw(3, k), 1.0 + k % 4) for k in range(60)]
    result = mean_product(updates, draw(8, 0))
    np.testing.assert_allclose(result.b @ result.a, dense_mean(updates), atol=1e-12)


def test_float32_factors_have_the_product_to_float32():
    updates = [(draw(4, k, 50, 40, torch.float32), 1.0 + k) for k in range(4)]
    result = mean_product(updates, draw(16, 0, 50, 40, torch.float32))
    mean = dense_mean(updates)
    error = np.linalg.norm(mean - (result.b.double() @ result.a.double()).numpy())
    assert error < 1e-6 * np.linalg.norm(mean)
