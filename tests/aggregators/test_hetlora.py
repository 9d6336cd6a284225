import numpy as np
import pytest
import torch

from polyrank.aggregators.hetlora import NormWeightedMean, norm_weighted_mean
from polyrank.allocators.hetlora import tail_product
from polyrank.errors import SettingsError, ShapeError
from polyrank.lora.factors import Factors, prefix


def draw(rank: int, seed: int, d_in: int = 5, d_out: int = 8) -> Factors:
    generator = torch.Generator().manual_seed(seed)
    a = torch.randn(rank, d_in, generator=generator, dtype=torch.float64)
    b = torch.randn(d_out, rank, generator=generator, dtype=torch.float64)
    return Factors(a, b, prefix(rank))


def test_by_hand():
    """Products 3 * 4 = 12 and 1 * 4 = 4, so weights 3/4 and 1/4; examples do not count."""
    one = Factors(torch.tensor([[3.0]]), torch.tensor([[4.0]]), prefix(1))
    two = Factors(torch.tensor([[1.0], [0.0]]), torch.tensor([[4.0, 8.0]]), prefix(2))
    previous = Factors(torch.ones(2, 1), torch.ones(1, 2), prefix(2))
    result = norm_weighted_mean([(one, 100.0), (two, 1.0)], previous)
    assert result.a[:, 0].tolist() == [2.5, 0.0]
    assert result.b[0].tolist() == [4.0, 2.0]


def test_weights_are_the_norms_of_the_dense_products():
    updates = [(draw(rank, rank), 1.0) for rank in (1, 3, 6)]
    norms = [np.linalg.norm(f.b.numpy() @ f.a.numpy()) for f, _ in updates]
    expected = np.zeros((6, 5))
    for (f, _), norm in zip(updates, norms, strict=True):
        expected[: f.rank] += norm / sum(norms) * f.a.numpy()
    result = norm_weighted_mean(updates, draw(6, 0))
    np.testing.assert_allclose(result.a, expected, atol=1e-12)


def test_clients_that_all_have_norm_0_are_averaged():
    start = [(Factors(f.a, f.b * 0, f.slots), 1.0) for f in (draw(2, 1), draw(2, 2))]
    result = norm_weighted_mean(start, draw(2, 0))
    torch.testing.assert_close(result.a, (start[0][0].a + start[1][0].a) / 2)
    assert not result.b.any()


def test_one_client_alone_gets_its_own_back_and_none_changes_nothing():
    alone, previous = draw(3, 1), draw(3, 0)
    result = norm_weighted_mean([(alone, 2.0)], previous)
    torch.testing.assert_close(result.b @ result.a, alone.b @ alone.a)
    assert norm_weighted_mean([], previous) is previous


def test_a_client_without_the_module_weighs_nothing():
    fold, previous, alone = NormWeightedMean(), draw(3, 0), draw(3, 1)
    state = fold.add(fold.add(fold.init(previous), None, 5.0), alone, 1.0)
    torch.testing.assert_close(fold.finish(state, previous).a, alone.a)


def test_wrong_sizes_are_refused():
    with pytest.raises(ShapeError):
        norm_weighted_mean([(draw(2, 1, d_in=4), 1.0)], draw(3, 0))


@pytest.mark.parametrize(("rank", "decay", "start"), [(6, 0.99, 5), (6, 0.5, 3), (10, 0.9, 9)])
def test_the_tail_product_is_that_of_numpy_s_norms(rank, decay, start):
    """Tails of one slot, of three, and of one where 0.9 * 10 is just 9."""
    f = draw(rank, 1)
    tail = np.linalg.norm(f.b.numpy()[:, start:]) * np.linalg.norm(f.a.numpy()[start:])
    assert tail_product(f, decay) == pytest.approx(tail, rel=1e-12)


def test_the_tail_product_at_the_ends():
    """Rank 1 is all tail, no slots are 0, as is a start with b = 0; 6e60 is above float32."""
    one = Factors(torch.tensor([[3e30]]), torch.tensor([[2e30]]), prefix(1))
    assert tail_product(one, 0.99) == pytest.approx(6e60)
    assert tail_product(draw(0, 1), 0.99) == 0
    start = draw(4, 1)
    assert tail_product(Factors(start.a, start.b * 0, start.slots), 0.99) == 0
    with pytest.raises(SettingsError, match="decay"):
        tail_product(start, 1.0)
