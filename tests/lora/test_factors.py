import itertools

import pytest
import torch

from polyrank.errors import ShapeError
from polyrank.lora.factors import (
    A,
    B,
    Factors,
    adapter_bytes,
    flatten_adapter,
    new_factors,
    prefix,
    product_norm,
    revive_dead_slots,
    start_factors,
    unflatten_adapter,
)


def random_factors(rank: int, d_in: int = 5, d_out: int = 7, seed: int = 0) -> Factors:
    generator = torch.Generator().manual_seed(seed)
    a = torch.randn(rank, d_in, generator=generator)
    return Factors(a, torch.randn(d_out, rank, generator=generator), prefix(rank))


def test_taken_slots_are_rows_of_a_with_columns_of_b_and_a_copy():
    whole = random_factors(6)
    taken = whole.take(torch.tensor([1, 4]))
    assert torch.equal(taken.a, whole.a[[1, 4]])
    assert torch.equal(taken.b, whole.b[:, [1, 4]])
    few = whole.take(prefix(2))
    few.a.zero_()
    few.b.zero_()
    assert whole.a.abs().min() > 0
    assert whole.b.abs().min() > 0


def svd_factors(rank: int, seed: int = 0) -> Factors:
    plain = random_factors(rank, seed=seed)
    e = torch.randn(rank, 1, generator=torch.Generator().manual_seed(seed + 1))
    return Factors(plain.a, plain.b, plain.slots, e)


def test_in_svd_form_a_slot_takes_its_number_along():
    whole = svd_factors(6)
    taken = whole.take(torch.tensor([1, 4]))
    assert torch.equal(taken.e, whole.e[[1, 4]])
    back = taken.with_slots(whole.without(taken.slots))
    assert all(torch.equal(t, whole.tensors[part]) for part, t in back.tensors.items())
    other = svd_factors(6, seed=5).take(torch.tensor([4, 5]))
    laid = whole.overlaid(other)
    assert torch.equal(laid.e, torch.cat([whole.e[:4], other.e]))


def test_in_svd_form_factors_are_complete_with_all_three():
    whole = svd_factors(3)
    assert whole.complete
    sent = whole.only(A | B)
    assert sent.e.shape == (3, 0)
    assert not sent.complete
    assert torch.equal(sent.completed(whole).e, whole.e)
    assert whole.sized(prefix(2)).e.shape == (2, 1)
    assert random_factors(3).complete


def test_folded_factors_are_plain_ones_of_the_same_product():
    whole = svd_factors(3)
    folded = whole.folded()
    assert folded.e is None
    dense = whole.b @ torch.diag(whole.e[:, 0]) @ whole.a
    torch.testing.assert_close(folded.b @ folded.a, dense)
    assert product_norm(whole) == pytest.approx(float(dense.norm()), rel=1e-6)
    plain = random_factors(3)
    assert plain.folded() is plain


def test_slots_are_found_by_their_server_number():
    owned = random_factors(6).take(torch.tensor([1, 3, 5]))
    assert torch.equal(owned.take(torch.tensor([3, 5])).a, owned.a[1:])


@pytest.mark.parametrize("slots", [[6], [0, 7], [2]])
def test_a_slot_that_is_not_there_is_an_error(slots):
    factors = random_factors(6).take(torch.tensor([0, 1, 3]))
    with pytest.raises(ShapeError, match="were asked of"):
        factors.take(torch.tensor(slots))


def test_a_new_module_changes_nothing_at_first_and_is_bounded_by_its_fan_in():
    factors = new_factors(4, 25, 3, torch.Generator().manual_seed(0))
    assert not factors.b.any()
    assert 0.1 < factors.a.abs().max() <= 1 / 5


def test_in_svd_form_a_module_starts_at_nothing_from_normal_numbers():
    f = start_factors((500, 700), 8, 0, "fc", parametrisation="svd")
    assert not f.e.any()
    assert f.e.shape == (8, 1)
    for tensor in (f.a, f.b):
        assert float(tensor.std()) == pytest.approx(0.02, rel=0.05)
        assert abs(float(tensor.mean())) < 0.002
    few = start_factors((500, 700), 3, 0, "fc", parametrisation="svd")
    assert all(torch.equal(t, f.take(prefix(3)).tensors[p]) for p, t in few.tensors.items())
    other = start_factors((500, 700), 8, 0, "out", parametrisation="svd")
    assert not torch.equal(other.b, f.b)


def test_in_svd_form_a_slot_is_dead_when_two_of_its_factors_are_zero():
    """Slot 0 has e = 0 as at the start, slot 1 e = 0 and b = 0, slot 2 nothing, slot 3 all."""
    factors = svd_factors(4)
    factors.e[:3] = 0
    factors.b[:, 1:3] = 0
    factors.a[2] = 0
    alive = revive_dead_slots(factors, torch.Generator().manual_seed(0))
    kept = torch.tensor([0, 3])
    whole = alive.take(kept).tensors
    assert all(torch.equal(whole[p], t) for p, t in factors.take(kept).tensors.items())
    assert not alive.e[1:3].any()
    for tensor in (alive.a[1:3], alive.b[:, 1:3]):
        assert 0 < tensor.abs().max() < 0.2


def test_only_slots_that_are_dead_on_both_sides_get_a_fresh_start():
    factors = random_factors(4)
    factors.a[1] = 0
    factors.b[:, 1] = 0
    factors.b[:, 2] = 0
    alive = revive_dead_slots(factors, torch.Generator().manual_seed(0))
    assert alive.a[1].abs().min() > 0
    kept = [0, 2, 3]
    assert torch.equal(alive.a[kept], factors.a[kept])
    assert torch.equal(alive.b, factors.b)


def test_product_norm_is_that_of_the_dense_product():
    factors = random_factors(3)
    dense = torch.linalg.matrix_norm(factors.b.double() @ factors.a.double())
    assert product_norm(factors) == pytest.approx(float(dense), rel=1e-9)


def test_bytes_count_both_factors_and_a_mask_of_slots_only_where_it_must_travel():
    whole = random_factors(6)
    assert adapter_bytes({"m": whole}) == 4 * 6 * (5 + 7)
    part = whole.take(torch.tensor([2, 5]))
    assert adapter_bytes({"m": part}) == 4 * 2 * (5 + 7) + 1  # a byte of marks
    third = svd_factors(6).take(torch.tensor([2, 5]))
    assert adapter_bytes({"m": third}) == 4 * 2 * (5 + 7 + 1) + 1


def test_flattening_keeps_names_with_dots_and_slashes():
    adapter = {"block.1/conv": random_factors(2), "fc": random_factors(3), "out": svd_factors(2)}
    back = unflatten_adapter(flatten_adapter(adapter, "adapter"), "adapter")
    assert list(back) == list(adapter)
    assert torch.equal(back["block.1/conv"].b, adapter["block.1/conv"].b)
    assert back["fc"].e is None
    assert torch.equal(back["out"].e, adapter["out"].e)


def test_every_module_round_and_seed_begins_with_factors_of_its_own():
    places = itertools.product((0, 1), ("fc", "out"), (0, 1, 2))
    drawn = [start_factors((5, 7), 3, seed, module, round).a for seed, module, round in places]
    assert not any(torch.equal(a, b) for a, b in itertools.combinations(drawn, 2))


def test_the_first_slots_are_the_same_whatever_their_number():
    few, many = (start_factors((5, 7), slots, 0, "fc", 2) for slots in (2, 6))
    assert torch.equal(few.a, many.a[:2])
