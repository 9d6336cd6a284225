"""What every entry of the table must satisfy (stated on the product ``b @ a``)."""

from collections.abc import Iterable

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from polyrank.adapter import Factors, prefix
from polyrank.aggregators import AGGREGATORS
from polyrank.aggregators.aggregator import ServerModel, aggregate
from polyrank.errors import ShapeError
from polyrank.messages import TaskId, Update

SHAPES = {"fc": (5, 7), "conv": (18, 4)}  # conv: 2 channels of 3 x 3, flattened
SLOTS = 6
AVERAGES_PRODUCTS = {"raflora"}  # beside the exact ones; of unequal ranks, not the plain mean
EVERY = pytest.mark.parametrize("name", list(AGGREGATORS))


def server(seed: int = 99, dtype: torch.dtype = torch.float64) -> ServerModel:
    adapter = {m: factors(SLOTS, shape, seed, dtype) for m, shape in SHAPES.items()}
    return ServerModel(adapter, {"bias": torch.zeros(3, dtype=dtype)})


def factors(
    owned: int | Iterable[int],
    shape: tuple[int, int],
    seed: int,
    dtype: torch.dtype = torch.float64,
) -> Factors:
    """The first ``owned`` slots, or just these."""
    slots = prefix(owned) if isinstance(owned, int) else torch.tensor(sorted(owned))
    generator = torch.Generator().manual_seed(seed)
    a = torch.randn(len(slots), shape[0], generator=generator, dtype=dtype)
    b = torch.randn(shape[1], len(slots), generator=generator, dtype=dtype)
    return Factors(a, b, slots)


def update(
    client: int, owned: int | Iterable[int], weight: float, dtype: torch.dtype = torch.float64
) -> Update:
    adapter = {
        m: factors(owned, s, 7 * client + i, dtype) for i, (m, s) in enumerate(SHAPES.items())
    }
    extras = {"bias": torch.full((3,), float(client), dtype=dtype)}
    return Update(TaskId("t", 1, str(client)), adapter, extras, examples=weight, loss=0.0)


def products(model: ServerModel | Update) -> dict[str, torch.Tensor]:
    return {m: f.b.double() @ f.a.double() for m, f in model.adapter.items()}


def contracts(name: str) -> frozenset[str]:
    return AGGREGATORS.make(name, {})().contracts


def mean_product(updates: list[Update]) -> dict[str, torch.Tensor]:
    """In NumPy, so that nothing is shared with what is tested."""
    total = sum(u.examples for u in updates)
    dense = {m: np.zeros((d_out, d_in)) for m, (d_in, d_out) in SHAPES.items()}
    for u in updates:
        for m, f in u.adapter.items():
            dense[m] += u.examples / total * f.b.double().numpy() @ f.a.double().numpy()
    return {m: torch.from_numpy(d) for m, d in dense.items()}


def close(left: dict[str, torch.Tensor], right: dict[str, torch.Tensor]) -> bool:
    return all(torch.allclose(left[m], right[m], rtol=1e-9, atol=1e-9) for m in SHAPES)


def combine(name: str, updates: list[Update], previous: ServerModel | None = None) -> ServerModel:
    return aggregate(AGGREGATORS.make(name, {})(), updates, previous or server())


def assert_close(left: dict[str, torch.Tensor], right: dict[str, torch.Tensor]) -> None:
    for module in SHAPES:
        torch.testing.assert_close(left[module], right[module], rtol=1e-9, atol=1e-9)


owned_slots = st.integers(1, SLOTS) | st.sets(st.integers(0, SLOTS - 1), min_size=1)
clients = st.lists(st.tuples(owned_slots, st.floats(0.5, 1000)), min_size=1, max_size=6)


@EVERY
@given(clients)
@settings(max_examples=20, deadline=None)
def test_order_of_clients_and_scale_of_weights_do_not_matter(name, drawn):
    updates = [update(k, owned, weight) for k, (owned, weight) in enumerate(drawn)]
    scaled = [update(k, owned, 3.7 * weight) for k, (owned, weight) in enumerate(drawn)]
    expected = products(combine(name, updates))
    assert_close(products(combine(name, updates[::-1])), expected)
    assert_close(products(combine(name, scaled)), expected)


@EVERY
def test_one_client_alone_gets_its_own_update_back(name):
    alone = update(3, SLOTS, 12.0)
    result = combine(name, [alone])
    assert_close(products(result), products(alone))
    assert torch.equal(result.extras["bias"], alone.extras["bias"])


@EVERY
@given(owned_slots, st.floats(0.5, 1000))
@settings(max_examples=10, deadline=None)
def test_an_empty_server_becomes_the_one_client_s_update(name, owned, weight):
    alone = update(3, owned, weight)
    nothing = {m: Factors(f.a * 0, f.b * 0, f.slots) for m, f in server().adapter.items()}
    result = combine(name, [alone], ServerModel(nothing, server().extras))
    assert_close(products(result), products(alone))


@EVERY
@pytest.mark.parametrize("ranks", [(1, 2, 6), (4, 4, 2), (6, 6, 6, 6)])
def test_exact_methods_alone_return_the_mean_of_the_products(name, ranks):
    """Six slots hold any mean: the shapes have rank 5 and 4 at most."""
    updates = [update(k, rank, 1.0 + k) for k, rank in enumerate(ranks)]
    exact = close(products(combine(name, updates)), mean_product(updates))
    equal = len(set(ranks)) == 1 and name in AVERAGES_PRODUCTS
    assert exact == ("exact" in contracts(name) or equal)


@EVERY
def test_inputs_are_not_changed(name):
    updates = [update(k, rank, 2.0) for k, rank in enumerate((1, 4, 6))]
    previous = server()
    before = [products(u) for u in updates], products(previous)
    combine(name, updates, previous)
    for u, expected in zip(updates, before[0], strict=True):
        assert_close(products(u), expected)
    assert_close(products(previous), before[1])


@EVERY
def test_equal_ranks_are_fedavg_of_the_factors_or_of_the_products(name):
    updates = [update(k, SLOTS, weight) for k, weight in enumerate((1.0, 2.0, 5.0))]
    result = combine(name, updates)
    if name in AVERAGES_PRODUCTS or "exact" in contracts(name):
        assert_close(products(result), mean_product(updates))
        return
    for module in SHAPES:
        for part in ("a", "b"):
            mean = sum(u.examples * getattr(u.adapter[module], part) for u in updates) / 8
            torch.testing.assert_close(getattr(result.adapter[module], part), mean)


@EVERY
def test_extras_are_the_weighted_mean_and_counters_are_not_averaged(name):
    counted = []
    for client, weight in ((1, 1.0), (4, 3.0)):
        u = update(client, 2, weight)
        counted.append(
            Update(u.id, u.adapter, {**u.extras, "steps": torch.tensor(10 * client)}, weight, 0.0)
        )
    previous = server()
    previous = ServerModel(previous.adapter, {**previous.extras, "steps": torch.tensor(0)})
    extras = combine(name, counted, previous).extras
    torch.testing.assert_close(extras["bias"], torch.full((3,), 3.25, dtype=torch.float64))
    assert extras["steps"] == 40
    assert extras["steps"].dtype == torch.int64


@EVERY
def test_slot_wise_methods_keep_a_slot_that_nobody_owned(name):
    previous = server()
    result = combine(name, [update(0, 2, 1.0), update(1, 3, 1.0)], previous)
    kept = all(
        torch.equal(result.adapter[m].a[3:], previous.adapter[m].a[3:])
        and torch.equal(result.adapter[m].b[:, 3:], previous.adapter[m].b[:, 3:])
        for m in SHAPES
    )
    assert kept == ("slot_wise" in contracts(name))


@EVERY
def test_basis_free_methods_alone_ignore_the_basis_of_a_clients_factors(name):
    generator = torch.Generator().manual_seed(0)
    turn = torch.randn(4, 4, generator=generator, dtype=torch.float64) + 3 * torch.eye(4)
    plain = [update(0, 4, 1.0), update(1, 2, 1.0)]
    adapter = {
        m: Factors(torch.linalg.solve(turn, f.a), f.b @ turn, f.slots)
        for m, f in plain[0].adapter.items()
    }
    turned = Update(plain[0].id, adapter, plain[0].extras, 1.0, 0.0)
    same = close(products(combine(name, plain)), products(combine(name, [turned, plain[1]])))
    assert same == ("basis_free" in contracts(name))


@EVERY
def test_linear_sum_methods_alone_see_only_the_sums_of_the_factors(name):
    """Client 0 gives client 1 something of slot 2: all sums over owners stay as they were."""
    plain = [update(k, rank, 1.0) for k, rank in enumerate((4, 3, 2))]
    moved = []
    for u, sign in zip(plain, (-1, 1, 0), strict=True):
        adapter = {m: Factors(f.a.clone(), f.b.clone(), f.slots) for m, f in u.adapter.items()}
        if sign:
            for f in adapter.values():
                f.a[2] += sign
                f.b[:, 2] += sign
        moved.append(Update(u.id, adapter, u.extras, 1.0, 0.0))
    same = close(products(combine(name, plain)), products(combine(name, moved)))
    assert same == ("linear_sum" in contracts(name))


@EVERY
def test_linear_sums_of_two_halves_are_the_sums_of_the_whole(name):
    aggregator = AGGREGATORS.make(name, {})()
    if "linear_sum" not in contracts(name):
        pytest.skip("not a function of sums over clients")
    previous = server()
    updates = [update(k, 1 + k, 1.0 + k) for k in range(4)]
    fold = aggregator.fold
    halves = []
    for half in (updates[:2], updates[2:]):
        state = fold.init(previous)
        for u in half:
            state = fold.add(state, u)
        halves.append(state)
    merged = halves[0]
    for module, sums in merged["modules"].items():
        other = halves[1]["modules"][module]
        sums.a += other.a
        sums.b += other.b
        sums.owners += other.owners
        sums.total += other.total
    assert_close(products(fold.finish(merged, previous)), products(combine(name, updates)))


@EVERY
def test_half_precision_is_summed_in_float32_or_better(name):
    """Within one rounding to bfloat16 (2^-8) of the same sums in float64.

    Forty clients: adding them up in bfloat16 loses several roundings.
    """
    updates = [update(k, 2 + k % 5, 1.0 + k % 3, torch.bfloat16) for k in range(40)]
    widened = []
    for u in updates:
        adapter = {m: Factors(f.a.double(), f.b.double(), f.slots) for m, f in u.adapter.items()}
        widened.append(Update(u.id, adapter, {"bias": u.extras["bias"].double()}, u.examples, 0.0))
    previous = server(dtype=torch.bfloat16)
    result = combine(name, updates, previous)
    expected = combine(name, widened)
    for module in SHAPES:
        for part in ("a", "b"):
            half = getattr(result.adapter[module], part)
            assert half.dtype == torch.bfloat16
            full = getattr(expected.adapter[module], part)
            torch.testing.assert_close(half.double(), full, rtol=2**-8, atol=1e-6)


@EVERY
def test_bytes_are_those_of_the_clients_own_slots_both_ways(name):
    """8 bytes for each of r (d_in + d_out) numbers of a module, and 3 extras."""
    model = server()
    slots = dict.fromkeys(SHAPES, prefix(2))
    down = AGGREGATORS.make(name, {})().send(model, slots)
    expected = 8 * (2 * sum(d_in + d_out for d_in, d_out in SHAPES.values()) + 3)
    assert down.nbytes == update(0, 2, 1.0).nbytes == expected


@EVERY
@pytest.mark.parametrize(
    ("owned", "shape"),
    [(2, (4, 7)), (2, (5, 8)), (SLOTS + 1, (5, 7)), ({1, SLOTS}, (5, 7))],
    ids=["d_in", "d_out", "rank", "slot"],
)
def test_wrong_sizes_are_refused_not_broadcast(name, owned, shape):
    good = update(0, 2, 1.0)
    wrong = {**good.adapter, "fc": factors(owned, shape, 0)}
    with pytest.raises(ShapeError):
        combine(name, [good, Update(good.id, wrong, good.extras, 1.0, 0.0)])


@EVERY
def test_a_client_without_a_module_and_a_round_without_updates_are_no_error(name):
    previous = server()
    unchanged = combine(name, [], previous)
    assert_close(products(unchanged), products(previous))
    full, part = update(0, SLOTS, 1.0), update(1, 3, 1.0)
    missing = Update(part.id, {"conv": part.adapter["conv"]}, part.extras, 1.0, 0.0)
    result = combine(name, [full, missing], previous)
    assert all(torch.isfinite(p).all() for p in products(result).values())
    assert result.adapter["fc"].a.shape == previous.adapter["fc"].a.shape
