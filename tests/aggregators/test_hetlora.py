"""HetLoRA: weights by norm, and a penalty on the tail."""

import numpy as np
import pytest
import torch

from polyrank.aggregators.hetlora import NormWeightedMean, norm_weighted_mean, tail_penalty
from polyrank.errors import ShapeError
from polyrank.lora.factors import Factors, prefix
from tests.aggregators.one_client import first, perform, prepared, train_task


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


def test_hetlora_s_penalty_is_the_product_of_the_norms_of_the_tail():
    """floor(0.5 * 4) = 2 slots stay; of rank 1 no slot is tail."""
    generator = torch.Generator().manual_seed(0)
    a, b = torch.randn(4, 3, generator=generator), torch.randn(5, 4, generator=generator)
    single = torch.ones(1, 3), torch.ones(5, 1)
    found = tail_penalty([(a, b), single], 0.5)
    expected = np.linalg.norm(b[:, 2:].numpy()) * np.linalg.norm(a[2:].numpy())
    assert float(found) == pytest.approx(expected)


def test_hetlora_s_penalty_shrinks_the_tail_and_has_a_gradient_where_b_is_zero(tmp_path):
    a = torch.randn(4, 3, generator=torch.Generator().manual_seed(0)).requires_grad_()
    b = torch.zeros(5, 4).requires_grad_()
    tail_penalty([(a, b)], 0.5).backward()
    assert torch.isfinite(a.grad).all()
    assert torch.isfinite(b.grad).all()
    tails = {}
    for penalty in (0.0, 1.0):
        kind = {"kind": "hetlora", "penalty": penalty, "decay": 0.5}
        ready = prepared(tmp_path / str(penalty), aggregator=kind, training={"epochs": 5})
        update = perform(
            ready.crew.performer().trainer, train_task(ready, "hetlora", 1, first(ready))
        )
        tails[penalty] = sum(
            float(f.b[:, 1:].norm() * f.a[1:].norm()) for f in update.adapter.values()
        )
    assert tails[1.0] < 0.5 * tails[0.0]
