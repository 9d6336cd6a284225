import numpy as np
import pytest
import torch

from polyrank.aggregators import AGGREGATORS
from polyrank.aggregators.aggregator import ServerModel, aggregate
from polyrank.aggregators.florist import thresholded_mean
from polyrank.aggregators.local_rule import slots_sent
from polyrank.errors import SettingsError, ShapeError
from polyrank.lora.factors import Factors, adapter_bytes, prefix
from polyrank.protocol.messages import TaskId, Update
from polyrank.registry import Named

D_IN, D_OUT = 11, 8


def draw(
    slots: torch.Tensor | int, seed: int, d_in: int = D_IN, d_out: int = D_OUT, dtype=torch.float64
) -> Factors:
    slots = prefix(slots) if isinstance(slots, int) else slots
    generator = torch.Generator().manual_seed(seed)
    a = torch.randn(len(slots), d_in, generator=generator, dtype=dtype)
    return Factors(a, torch.randn(d_out, len(slots), generator=generator, dtype=dtype), slots)


def with_values(*values: float, d_in: int = D_IN, d_out: int = D_OUT) -> Factors:
    """Factors whose product has these singular values."""
    drawn = draw(len(values), 7, d_in, d_out)
    left, right = torch.linalg.qr(drawn.b).Q, torch.linalg.qr(drawn.a.T).Q.T
    return Factors(right, left * torch.tensor(values, dtype=torch.float64), prefix(len(values)))


def by_numpy(
    updates: list[tuple[Factors, float]], tau: float, d_in: int = D_IN, d_out: int = D_OUT
) -> tuple[np.ndarray, int]:
    """The dense mean, decomposed, cut by a loop."""
    total = sum(weight for _, weight in updates)
    mean = np.zeros((d_out, d_in))
    for f, weight in updates:
        mean += weight / total * f.b.double().numpy() @ f.a.double().numpy()
    u, s, vt = np.linalg.svd(mean, full_matrices=False)
    p, held = 0, 0.0
    while held < tau * (mean**2).sum() * (1 - 1e-12) and p < len(s):
        held += s[p] ** 2
        p += 1
    return u[:, :p] * s[:p] @ vt[:p], p


MIXED = [(draw(1, 1), 3.0), (draw(torch.tensor([2, 5]), 2), 1.0), (draw(3, 3), 2.5)]


@pytest.mark.parametrize("tau", [1e-9, 0.3, 0.8, 0.9, 0.99, 0.999999, 1.0])
@pytest.mark.parametrize(("d_in", "d_out"), [(11, 8), (8, 11), (4, 30), (300, 200)])
def test_it_is_the_cut_dense_mean(tau, d_in, d_out):
    """Ranks 1 to 12, d above and below their sum, and n above the triples looked at first."""
    ranks = [1, 5, 12, 2] * (1 if d_in < 300 else 8)
    updates = [(draw(r, k, d_in, d_out), 1.0 + k) for k, r in enumerate(ranks)]
    b, a = thresholded_mean(updates, d_in, d_out, tau=tau)
    expected, p = by_numpy(updates, tau, d_in, d_out)
    if tau < 1:
        assert (b.shape, a.shape) == ((d_out, p), (p, d_in))
    np.testing.assert_allclose(b @ a, expected, atol=1e-10 * np.abs(expected).max())


@pytest.mark.parametrize(
    ("tau", "p"), [(0.1, 1), (0.61, 1), (0.62, 2), (0.96, 2), (0.97, 3), (1.0, 3)]
)
def test_by_hand(tau, p):
    """Energies 16, 9 and 1 of 26: shares 0.615, 0.962, 1. Values add up to 8: 0.5, 0.875, 1."""
    b, a = thresholded_mean([(with_values(4.0, 3.0, 1.0), 5.0)], D_IN, D_OUT, tau=tau)
    assert a.shape == (p, D_IN)
    lengths = torch.tensor([4.0, 3.0, 1.0], dtype=torch.float64).sqrt()[:p]
    torch.testing.assert_close(torch.linalg.norm(b, dim=0), lengths)
    torch.testing.assert_close(torch.linalg.norm(a, dim=1), lengths)


def test_more_triples_are_looked_at_where_the_first_hold_too_little():
    """Flat spectra of rank 300: 0.9 of the energy takes some 230 of them."""
    updates = [(draw(150, k, 500, 400), 1.0) for k in range(2)]
    b, a = thresholded_mean(updates, 500, 400)
    expected, p = by_numpy(updates, 0.9, 500, 400)
    assert p > 128
    assert len(a) == p
    np.testing.assert_allclose(b @ a, expected, atol=1e-10 * np.abs(expected).max())


@pytest.mark.parametrize("tau", [0.8, 0.9])
def test_what_is_cut_holds_at_most_the_rest_of_the_energy(tau):
    b, a = thresholded_mean(MIXED, D_IN, D_OUT, tau=tau)
    mean, _ = by_numpy(MIXED, 1.0)
    cut = np.linalg.norm(mean - (b @ a).numpy()) / np.linalg.norm(mean)
    assert 0 < cut <= (1 - tau) ** 0.5


def test_one_client_alone_gets_its_update_back_only_with_tau_one():
    """The exemption from the contract that the other methods keep."""
    alone = draw(4, 1)
    b, a = thresholded_mean([(alone, 3.0)], D_IN, D_OUT, tau=1.0)
    torch.testing.assert_close(b @ a, alone.b @ alone.a)
    assert len(a) == 4
    b, a = thresholded_mean([(alone, 3.0)], D_IN, D_OUT, tau=0.9)
    assert len(a) < 4
    error = torch.linalg.norm(b @ a - alone.b @ alone.a) / torch.linalg.norm(alone.b @ alone.a)
    assert 1e-3 < error <= 0.1**0.5


def test_order_basis_and_scale_of_weights_do_not_matter():
    turn = torch.linalg.qr(draw(3, 5, 3, 3).a).Q
    b, a = thresholded_mean(MIXED, D_IN, D_OUT)
    last, _ = MIXED[-1]
    other = [(Factors(turn.T @ last.a, last.b @ turn, last.slots), 25.0)]
    other += [(f, 10 * weight) for f, weight in reversed(MIXED[:-1])]
    b_other, a_other = thresholded_mean(other, D_IN, D_OUT)
    torch.testing.assert_close(b_other @ a_other, b @ a)


@pytest.mark.parametrize("tau", [0.999, 1.0])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_rounding_of_the_sum_is_no_triple(tau, dtype):
    """Two clients with one update: rank 3, of a stack of 6."""
    same = draw(3, 1, dtype=dtype)
    b, a = thresholded_mean([(same, 1.0), (same, 2.0)], D_IN, D_OUT, tau=tau)
    assert b.dtype == a.dtype == dtype
    assert a.shape == (3, D_IN)
    torch.testing.assert_close(b @ a, same.b @ same.a)


@pytest.mark.parametrize("tau", [0.9, 1.0])
def test_where_clients_all_but_cancel_what_is_left_is_shared_out_rightly(tau):
    """A mean 1e-9 of each product, whose norm Gram matrices would not know."""
    one, small = draw(3, 1, 40, 30), with_values(4e-9, 3e-9, d_in=40, d_out=30)
    minus = Factors(one.a, -one.b, one.slots)
    b, a = thresholded_mean([(one, 1.0), (small, 1.0), (minus, 1.0)], 40, 30, tau=tau)
    assert len(a) == 2 or tau == 1
    expected = small.b @ small.a / 3
    torch.testing.assert_close(b[:, :2] @ a[:2], expected, rtol=0, atol=1e-5 * 4e-9)


def test_tau_one_keeps_what_is_too_small_to_change_the_energy():
    client = with_values(*[1.0] * 60, *[1e-9] * 20, d_in=130, d_out=120)
    _, a = thresholded_mean([(client, 1.0)], 130, 120, tau=1.0)
    assert len(a) == 80


@pytest.mark.parametrize("tau", [0.9, 1.0])
def test_nothing_to_add_up_has_rank_zero(tau):
    zero = Factors(draw(3, 1).a, torch.zeros(D_OUT, 3).double(), prefix(3))
    for updates in ([], [(zero, 2.0)], [(draw(0, 1), 1.0)]):
        b, a = thresholded_mean(updates, D_IN, D_OUT, tau=tau)
        assert (b.shape, a.shape) == ((D_OUT, 0), (0, D_IN))


def test_a_client_without_slots_counts_as_a_zero_update():
    b, a = thresholded_mean([(draw(2, 1), 1.0), (draw(0, 2), 3.0)], D_IN, D_OUT, tau=1.0)
    torch.testing.assert_close(b @ a, draw(2, 1).b @ draw(2, 1).a / 4)


@pytest.mark.parametrize("tau", [0.0, -0.5, 1.0001, float("nan")])
def test_a_tau_that_is_no_share_is_refused(tau):
    with pytest.raises(SettingsError, match=r"florist: expected 0 < tau <= 1, got"):
        thresholded_mean(MIXED, D_IN, D_OUT, tau=tau)


@pytest.mark.parametrize(("d_in", "d_out"), [(12, 8), (11, 9), (8, 11)])
def test_factors_of_another_shape_are_refused(d_in, d_out):
    with pytest.raises(ShapeError, match=r"florist: expected a \(1, .*got \(1, 11\) and \(8, 1\)"):
        thresholded_mean(MIXED, d_in, d_out)


def test_every_client_is_sent_the_kept_triples_or_the_matrix_whatever_its_rank():
    """3 of 6 + 3 values hold 0.9 of the energy: 3 (11 + 8) numbers of 8 bytes, against 88."""
    first = with_values(10.0, 8.0, 7.0, 1.0, 0.5, 0.1)
    updates = [Update(TaskId("t", 1, "x"), {"fc": first}, {}, 1.0, 0.0)]
    start = draw(6, 3)
    previous = ServerModel({"fc": Factors(start.a, start.b * 0, start.slots)}, {})
    for tau, p in ((0.9, 3), (1.0, 6)):
        assert by_numpy([(first, 1.0)], tau)[1] == p
        result = aggregate(AGGREGATORS.build(Named("florist", {"tau": tau})), updates, previous)
        assert result.base.patch(0).nbytes == 8 * min(p * (D_IN + D_OUT), D_IN * D_OUT)
        rule = AGGREGATORS.build(Named("florist", {"tau": tau})).local(2)
        sent = slots_sent(result.adapter, {"fc": prefix(2)}, rule, current=True)
        assert adapter_bytes(sent) == 0
