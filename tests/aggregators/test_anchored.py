import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from polyrank.aggregators.anchored import anchored_mean, as_trained
from polyrank.lora.factors import Factors, new_factors, prefix
from tests.aggregators.one_client import first, perform, prepared, stored, train_task

D_IN, D_OUT, SLOTS = 9, 7, 7

owned = st.sets(st.integers(0, SLOTS - 1), min_size=1)


def draw(slots: torch.Tensor | int, seed: int) -> Factors:
    slots = prefix(slots) if isinstance(slots, int) else slots
    generator = torch.Generator().manual_seed(seed)
    a = torch.randn(len(slots), D_IN, generator=generator, dtype=torch.float64)
    return Factors(a, torch.randn(D_OUT, len(slots), generator=generator, dtype=a.dtype), slots)


@given(st.lists(st.tuples(owned, st.floats(0.5, 100)), min_size=1, max_size=5))
@settings(max_examples=30, deadline=None)
def test_it_is_fedavg_of_whole_models_in_which_a_client_has_replaced_its_slots(drawn):
    """Each client's whole product, written out, with the server's own columns elsewhere."""
    server = draw(SLOTS, 99)
    updates, expected = [], np.zeros((D_OUT, D_IN))
    total = sum(weight for _, weight in drawn)
    for k, (slots, weight) in enumerate(drawn):
        f = draw(torch.tensor(sorted(slots)), k)
        updates.append((f, weight))
        a, b = server.a.numpy().copy(), server.b.numpy().copy()
        a[f.slots.numpy()], b[:, f.slots.numpy()] = f.a.numpy(), f.b.numpy()
        expected += weight / total * b @ a
    result = anchored_mean(updates, server)
    np.testing.assert_allclose(result.b @ result.a, expected, atol=1e-9)


def test_a_slot_that_nobody_owns_keeps_its_product():
    server = draw(SLOTS, 0)
    result = anchored_mean([(server.take(prefix(3)), 5.0)], server)
    torch.testing.assert_close(result.b @ result.a, server.b @ server.a)


def test_what_does_not_fit_is_cut_at_the_smallest_triples():
    server = Factors(*(t * 0 for t in (draw(2, 0).a, draw(2, 0).b)), prefix(2))
    updates = [(draw(2, k), 1.0) for k in (1, 2)]
    dense = sum(f.b.numpy() @ f.a.numpy() for f, _ in updates) / 2
    result = anchored_mean(updates, server)
    missed = np.linalg.norm(dense - (result.b @ result.a).numpy())
    values = np.linalg.svd(dense, compute_uv=False)
    assert missed == pytest.approx(np.linalg.norm(values[2:]))


def test_every_slot_has_the_balance_that_a_new_one_has():
    """|a|² - |b|² = 1/3, the mean squared norm of d_in numbers uniform in +-1/sqrt(d_in)."""
    result = as_trained((draw(5, 1).b, draw(5, 1).a), draw(SLOTS, 0))
    balance = result.a.square().sum(1) - result.b.square().sum(0)
    torch.testing.assert_close(balance[:5], torch.full((5,), 1 / 3, dtype=torch.float64))
    assert not result.a[5:].any()
    assert not result.b[:, 5:].any()
    fresh = new_factors(4000, 50, 3, torch.Generator().manual_seed(0))
    assert float(fresh.a.square().sum(1).mean()) == pytest.approx(1 / 3, abs=0.005)


def test_gradient_descent_on_the_product_keeps_the_balance_to_first_order():
    """With step h the change of |a|² - |b|² falls as h²: a tenth of h, a hundredth of it."""
    start = as_trained((draw(5, 1).b, draw(5, 1).a), draw(5, 0))
    target = draw(5, 3).b @ draw(5, 3).a

    def drift(step):
        a, b = start.a.clone().requires_grad_(), start.b.clone().requires_grad_()
        (b @ a - target).square().sum().backward()
        moved_a, moved_b = a - step * a.grad, b - step * b.grad
        after = moved_a.square().sum(1) - moved_b.square().sum(0)
        return float((after - 1 / 3).abs().max().detach())

    assert drift(1e-4) / drift(1e-5) == pytest.approx(100, rel=1e-3)


def test_without_updates_it_is_the_server_s():
    server = draw(SLOTS, 0)
    assert anchored_mean([], server) is server


def test_the_full_view_works_with_all_slots_and_trains_its_own(tmp_path):
    ready = prepared(tmp_path, aggregator="anchored")
    trainer = ready.crew.performer().trainer
    start = first(ready)
    update = perform(trainer, train_task(ready, "anchored", 1, start))
    for module, factors in update.adapter.items():
        kept = stored(trainer, 1)[module]
        assert factors.slots.tolist() == [0, 1, 2]
        assert torch.equal(kept.a[:3], factors.a)
        assert not torch.equal(factors.a, start[module].a[:3])
        assert torch.equal(kept.a[3:], start[module].a[3:])
        assert torch.equal(kept.b[:, 3:], start[module].b[:, 3:])
