"""What every entry of the table must satisfy (stated on the product ``b @ a``)."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from polyrank.adapter import Factors, prefix
from polyrank.aggregators import AGGREGATORS
from polyrank.aggregators.aggregator import ServerModel, aggregate
from polyrank.messages import TaskId, Update

SHAPES = {"fc": (5, 7), "conv": (18, 4)}  # conv: 2 channels of 3 x 3, flattened
SLOTS = 6
EVERY = pytest.mark.parametrize("name", list(AGGREGATORS))


def server(seed: int = 99, dtype: torch.dtype = torch.float64) -> ServerModel:
    adapter = {m: factors(SLOTS, shape, seed, dtype) for m, shape in SHAPES.items()}
    return ServerModel(adapter, {"bias": torch.zeros(3, dtype=dtype)})


def factors(
    rank: int, shape: tuple[int, int], seed: int, dtype: torch.dtype = torch.float64
) -> Factors:
    generator = torch.Generator().manual_seed(seed)
    a = torch.randn(rank, shape[0], generator=generator, dtype=dtype)
    b = torch.randn(shape[1], rank, generator=generator, dtype=dtype)
    return Factors(a, b, prefix(rank))


def update(client: int, rank: int, weight: float, dtype: torch.dtype = torch.float64) -> Update:
    adapter = {
        m: factors(rank, s, 7 * client + i, dtype) for i, (m, s) in enumerate(SHAPES.items())
    }
    extras = {"bias": torch.full((3,), float(client), dtype=dtype)}
    return Update(TaskId("t", 1, str(client)), adapter, extras, examples=weight, loss=0.0)


def products(model: ServerModel | Update) -> dict[str, torch.Tensor]:
    return {m: f.b.double() @ f.a.double() for m, f in model.adapter.items()}


def combine(name: str, updates: list[Update], previous: ServerModel | None = None) -> ServerModel:
    return aggregate(AGGREGATORS.make(name, {})(), updates, previous or server())


def assert_close(left: dict[str, torch.Tensor], right: dict[str, torch.Tensor]) -> None:
    for module in SHAPES:
        torch.testing.assert_close(left[module], right[module], rtol=1e-9, atol=1e-9)


clients = st.lists(st.tuples(st.integers(1, SLOTS), st.floats(0.5, 1000)), min_size=1, max_size=6)


@EVERY
@given(clients)
@settings(max_examples=20, deadline=None)
def test_order_of_clients_and_scale_of_weights_do_not_matter(name, drawn):
    updates = [update(k, rank, weight) for k, (rank, weight) in enumerate(drawn)]
    scaled = [update(k, rank, 3.7 * weight) for k, (rank, weight) in enumerate(drawn)]
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
def test_inputs_are_not_changed(name):
    updates = [update(k, rank, 2.0) for k, rank in enumerate((1, 4, 6))]
    previous = server()
    before = [products(u) for u in updates], products(previous)
    combine(name, updates, previous)
    for u, expected in zip(updates, before[0], strict=True):
        assert_close(products(u), expected)
    assert_close(products(previous), before[1])


@EVERY
def test_equal_ranks_are_fedavg_of_the_factors(name):
    if "exact" in AGGREGATORS.make(name, {})().contracts:
        pytest.skip("averages products, not factors")
    updates = [update(k, SLOTS, weight) for k, weight in enumerate((1.0, 2.0, 5.0))]
    result = combine(name, updates)
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
    assert kept == ("slot_wise" in AGGREGATORS.make(name, {})().contracts)


@EVERY
def test_basis_free_methods_alone_ignore_the_basis_of_a_clients_factors(name):
    turn = torch.linalg.qr(torch.randn(4, 4, dtype=torch.float64)).Q
    plain = [update(0, 4, 1.0), update(1, 4, 1.0)]
    adapter = {m: Factors(turn.T @ f.a, f.b @ turn, f.slots) for m, f in plain[0].adapter.items()}
    turned = Update(plain[0].id, adapter, plain[0].extras, 1.0, 0.0)
    moved = any(
        not torch.allclose(
            products(combine(name, plain))[m], products(combine(name, [turned, plain[1]]))[m]
        )
        for m in SHAPES
    )
    assert moved != ("basis_free" in AGGREGATORS.make(name, {})().contracts)


@EVERY
def test_linear_sums_of_two_halves_are_the_sums_of_the_whole(name):
    aggregator = AGGREGATORS.make(name, {})()
    if "linear_sum" not in aggregator.contracts:
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
def test_half_precision_is_summed_in_float32(name):
    updates = [update(k, SLOTS, 1.0, torch.bfloat16) for k in range(3)]
    result = combine(name, updates, server(dtype=torch.bfloat16))
    assert result.adapter["fc"].a.dtype == torch.bfloat16
    mean = sum(u.adapter["fc"].a.float() for u in updates) / 3
    torch.testing.assert_close(result.adapter["fc"].a, mean.bfloat16())
