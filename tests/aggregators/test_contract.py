"""What every entry of the table must satisfy.

Stated on the effective change of a weight, base change + ``b a``. A factor that clients do not
send counts with the server's values, which is what they work with (FFA, RoLoRA) or what the
server can know of it (FedSA).
"""

from collections.abc import Iterable
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from polyrank.aggregators import AGGREGATORS
from polyrank.aggregators.aggregator import Aggregator, ServerModel, aggregate, unchanged
from polyrank.aggregators.linear_sum import LinearSum
from polyrank.errors import SettingsError, ShapeError
from polyrank.lora.factors import A, B, Factors, prefix
from polyrank.protocol.messages import TaskId, Update
from polyrank.registry import Named

SHAPES = {"fc": (5, 7), "conv": (18, 4)}  # conv: 2 channels of 3 x 3, flattened
SLOTS = 6
EXACT_IF_EQUAL = {"raflora", "anchored", "fedsa"}  # beside the exact ones
WHOLE = {"florist": {"tau": 1.0}}  # below, not even one client gets its update back: its own test
WEIGHS_BY_NORM = {"hetlora"}
EVERY = pytest.mark.parametrize("name", list(AGGREGATORS))


def made(name: str, **options) -> Aggregator:
    return AGGREGATORS.build(Named(name, options))


def contracts(name: str) -> frozenset[str]:
    return made(name).contracts


def server(name: str, seed: int = 99, dtype: torch.dtype = torch.float64) -> ServerModel:
    """A server's model; b is zero where every round starts with new factors."""
    adapter = {m: factors(SLOTS, shape, seed, dtype) for m, shape in SHAPES.items()}
    if made(name).local(1).absent == "fresh":
        adapter = {m: Factors(f.a, f.b * 0, f.slots) for m, f in adapter.items()}
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
    name: str,
    client: int,
    owned: int | Iterable[int],
    weight: float,
    dtype: torch.dtype = torch.float64,
) -> Update:
    """What the method's clients send in round 1; all own all slots where they must."""
    aggregator = made(name)
    owned = SLOTS if aggregator.equal_ranks else owned
    adapter = {
        m: factors(owned, s, 7 * client + i, dtype).only(aggregator.local(1).sends)
        for i, (m, s) in enumerate(SHAPES.items())
    }
    extras = {"bias": torch.full((3,), float(client), dtype=dtype)}
    return Update(TaskId("t", 1, str(client)), adapter, extras, examples=weight, loss=0.0)


def effective(model: ServerModel) -> dict[str, torch.Tensor]:
    found = {m: f.b.double() @ f.a.double() for m, f in model.adapter.items()}
    for module, total in model.base.totals.items() if model.base else ():
        found[module] = found[module] + total.double()
    return found


def sent_products(u: Update, previous: ServerModel) -> dict[str, torch.Tensor]:
    whole = {m: f.completed(previous.adapter[m].take(f.slots)) for m, f in u.adapter.items()}
    return {m: f.b.double() @ f.a.double() for m, f in whole.items()}


def mean_product(updates: list[Update], previous: ServerModel) -> dict[str, torch.Tensor]:
    """In NumPy, so that nothing is shared with what is tested."""
    total = sum(u.examples for u in updates)
    dense = {m: np.zeros((d_out, d_in)) for m, (d_in, d_out) in SHAPES.items()}
    for u in updates:
        for m, product in sent_products(u, previous).items():
            dense[m] += u.examples / total * product.numpy()
    return {m: torch.from_numpy(d) for m, d in dense.items()}


def close(left: dict[str, torch.Tensor], right: dict[str, torch.Tensor]) -> bool:
    return all(torch.allclose(left[m], right[m], rtol=1e-9, atol=1e-9) for m in SHAPES)


def combine(
    name: str, updates: list[Update], previous: ServerModel | None = None, **options
) -> ServerModel:
    return aggregate(made(name, **options), updates, previous or server(name))


def combine_whole(name, updates, previous=None):
    return combine(name, updates, previous, **WHOLE.get(name, {}))


def assert_close(left: dict[str, torch.Tensor], right: dict[str, torch.Tensor]) -> None:
    for module in SHAPES:
        torch.testing.assert_close(left[module], right[module], rtol=1e-9, atol=1e-9)


def changed(u: Update, change: dict[str, Factors]) -> Update:
    return replace(u, adapter={**u.adapter, **change})


owned_slots = st.integers(1, SLOTS) | st.sets(st.integers(0, SLOTS - 1), min_size=1)
clients = st.lists(st.tuples(owned_slots, st.floats(0.5, 1000)), min_size=1, max_size=6)


@EVERY
@given(clients)
@settings(max_examples=20, deadline=None)
def test_order_of_clients_and_scale_of_weights_do_not_matter(name, drawn):
    updates = [update(name, k, owned, weight) for k, (owned, weight) in enumerate(drawn)]
    scaled = [update(name, k, owned, 3.7 * weight) for k, (owned, weight) in enumerate(drawn)]
    expected = effective(combine(name, updates))
    assert_close(effective(combine(name, updates[::-1])), expected)
    assert_close(effective(combine(name, scaled)), expected)


@EVERY
def test_one_client_alone_gets_its_own_update_back(name):
    alone = update(name, 3, SLOTS, 12.0)
    result = combine_whole(name, [alone])
    assert_close(effective(result), sent_products(alone, server(name)))
    assert torch.equal(result.extras["bias"], alone.extras["bias"])


@EVERY
@given(owned_slots, st.floats(0.5, 1000))
@settings(max_examples=10, deadline=None)
def test_an_empty_server_becomes_the_one_client_s_update(name, owned, weight):
    alone = update(name, 3, owned, weight)
    adapter = server(name).adapter
    nothing = {m: Factors(f.a * 0, f.b * 0, f.slots) for m, f in adapter.items()}
    previous = ServerModel(nothing, server(name).extras)
    assert_close(effective(combine_whole(name, [alone], previous)), sent_products(alone, previous))


@EVERY
@pytest.mark.parametrize("ranks", [(1, 2, 6), (4, 4, 2), (6, 6, 6, 6)])
def test_exact_methods_alone_return_the_mean_of_the_products(name, ranks):
    """Six slots hold any mean: the shapes have rank 5 and 4 at most."""
    updates = [update(name, k, rank, 1.0 + k) for k, rank in enumerate(ranks)]
    exact = close(effective(combine(name, updates)), mean_product(updates, server(name)))
    equal = len(set(ranks)) == 1 and name in EXACT_IF_EQUAL
    assert exact == ("exact" in contracts(name) or equal)


@EVERY
def test_inputs_are_not_changed(name):
    updates = [update(name, k, rank, 2.0) for k, rank in enumerate((1, 4, 6))]
    previous = server(name)
    before = [sent_products(u, previous) for u in updates], effective(previous)
    combine(name, updates, previous)
    for u, expected in zip(updates, before[0], strict=True):
        assert_close(sent_products(u, previous), expected)
    assert_close(effective(previous), before[1])


@EVERY
def test_equal_ranks_are_fedavg_of_the_factors_or_of_the_products(name):
    updates = [update(name, k, SLOTS, weight) for k, weight in enumerate((1.0, 2.0, 5.0))]
    result = combine_whole(name, updates)
    if name in EXACT_IF_EQUAL or name in WHOLE or "exact" in contracts(name):
        assert_close(effective(result), mean_product(updates, server(name)))
        return
    for module in SHAPES:
        weights = [u.examples for u in updates]
        if name in WEIGHS_BY_NORM:
            weights = [
                float(torch.linalg.norm(sent_products(u, server(name))[module])) for u in updates
            ]
        for part in ("a", "b"):
            sums = zip(weights, updates, strict=True)
            mean = sum(w * getattr(u.adapter[module], part) for w, u in sums) / sum(weights)
            torch.testing.assert_close(getattr(result.adapter[module], part), mean)


@EVERY
def test_extras_are_the_weighted_mean_and_counters_are_not_averaged(name):
    counted = []
    for client, weight in ((1, 1.0), (4, 3.0)):
        u = update(name, client, 2, weight)
        counted.append(
            Update(u.id, u.adapter, {**u.extras, "steps": torch.tensor(10 * client)}, weight, 0.0)
        )
    previous = server(name)
    previous = replace(previous, extras={**previous.extras, "steps": torch.tensor(0)})
    extras = combine(name, counted, previous).extras
    torch.testing.assert_close(extras["bias"], torch.full((3,), 3.25, dtype=torch.float64))
    assert extras["steps"] == 40
    assert extras["steps"].dtype == torch.int64


@pytest.mark.parametrize("name", ["fedex", "rolora", "fedsa"])
def test_clients_weigh_the_same_where_that_is_asked_for(name):
    """As the papers have it; factors, extras and the change of the base alike."""
    ranks, examples = (2, 6, 3), (1.0, 30.0, 400.0)
    unlike = [update(name, k, *pair) for k, pair in enumerate(zip(ranks, examples, strict=True))]
    alike = [replace(u, examples=1.0) for u in unlike]
    equal = combine(name, unlike, client_weights="equal")
    expected = combine(name, alike)
    assert_close(effective(equal), effective(expected))
    torch.testing.assert_close(equal.extras["bias"], expected.extras["bias"])
    assert not close(effective(equal), effective(combine(name, unlike)))
    with pytest.raises(SettingsError, match=r"client_weights = 'mean': .*'examples' or 'equal'"):
        combine(name, unlike, client_weights="mean")


@pytest.mark.parametrize("name", [n for n in AGGREGATORS if made(n).changes_base])
def test_what_was_added_to_the_base_before_stays_in_it(name):
    updates = [update(name, k, rank, 1.0 + k) for k, rank in enumerate((2, 6))]
    plain = server(name)
    ones = {m: torch.ones(d_out, d_in).double() for m, (d_in, d_out) in SHAPES.items()}
    changed = unchanged(plain.adapter).stepped({m: (t,) for m, t in ones.items()})
    first, later = combine(name, updates), combine(name, updates, replace(plain, base=changed))
    assert (first.base.version, later.base.version) == (1, 2)
    for module, total in first.base.totals.items():
        torch.testing.assert_close(later.base.totals[module], total + ones[module])


@EVERY
def test_slot_wise_methods_keep_a_slot_that_nobody_owned(name):
    if made(name).local(1).absent == "fresh" or made(name).equal_ranks:
        pytest.skip("slots do not outlive a round, or all clients own all")
    previous = server(name)
    result = combine(name, [update(name, 0, 2, 1.0), update(name, 1, 3, 1.0)], previous)
    kept = all(
        torch.equal(result.adapter[m].a[3:], previous.adapter[m].a[3:])
        and torch.equal(result.adapter[m].b[:, 3:], previous.adapter[m].b[:, 3:])
        for m in SHAPES
    )
    assert kept == ("slot_wise" in contracts(name))


@EVERY
def test_basis_free_methods_alone_ignore_the_basis_of_a_clients_factors(name):
    plain = [update(name, 0, 4, 1.0), update(name, 1, 2, 1.0)]
    rank = plain[0].adapter["fc"].rank
    generator = torch.Generator().manual_seed(0)
    turn = torch.randn(rank, rank, generator=generator, dtype=torch.float64) + 3 * torch.eye(rank)
    adapter = {
        m: Factors(torch.linalg.solve(turn, f.a), f.b @ turn, f.slots)
        for m, f in plain[0].adapter.items()
    }
    turned = changed(plain[0], adapter)
    same = close(effective(combine(name, plain)), effective(combine(name, [turned, plain[1]])))
    assert same == ("basis_free" in contracts(name))


@EVERY
def test_linear_sum_methods_alone_see_only_the_sums_of_the_factors(name):
    """Client 0 gives client 1 something of slot 2: all sums over owners stay as they were."""
    plain = [update(name, k, rank, 1.0) for k, rank in enumerate((4, 3, 2))]
    moved = []
    for u, sign in zip(plain, (-1, 1, 0), strict=True):
        adapter = {m: Factors(f.a.clone(), f.b.clone(), f.slots) for m, f in u.adapter.items()}
        if sign:
            for f in adapter.values():
                f.a[2] += sign
                f.b[:, 2] += sign
        moved.append(changed(u, adapter))
    same = close(effective(combine(name, plain)), effective(combine(name, moved)))
    assert same == ("linear_sum" in contracts(name))


@EVERY
@given(clients)
@settings(max_examples=10, deadline=None)
def test_contributions_that_were_made_apart_add_up_to_the_fold(name, drawn):
    """Each client's by itself, as dense tensors of fixed shape, which only their sum is read of."""
    fold = made(name).fold.module
    assert isinstance(fold, LinearSum) == ("linear_sum" in contracts(name))
    if not isinstance(fold, LinearSum):
        return
    previous = server(name)
    updates = [update(name, k, owned, weight) for k, (owned, weight) in enumerate(drawn)]
    expected = combine(name, updates, previous)
    for module, start in previous.adapter.items():
        total = fold.init(start)
        for u in updates:
            one = fold.add(fold.init(start), u.adapter[module], u.examples)
            assert {n: t.shape for n, t in one.values.items()} == {
                n: t.shape for n, t in fold.init(start).values.items()
            }
            total.parts |= one.parts
            for part, tensor in one.values.items():
                total.values[part] += tensor
        found = fold.finish(total, start)
        for part, tensor in expected.adapter[module].tensors.items():
            torch.testing.assert_close(found.tensors[part], tensor, rtol=1e-12, atol=1e-12)


@EVERY
def test_half_precision_is_summed_in_float32_or_better(name):
    """Within one rounding to bfloat16 (2^-8) of the same sums in float64.

    Forty clients: adding them up in bfloat16 loses several roundings.
    """
    updates = [update(name, k, 2 + k % 5, 1.0 + k % 3, torch.bfloat16) for k in range(40)]
    previous = server(name, dtype=torch.bfloat16)
    widened = [
        replace(u, adapter=_widened(u.adapter), extras={"bias": u.extras["bias"].double()})
        for u in updates
    ]
    wide = ServerModel(_widened(previous.adapter), {"bias": previous.extras["bias"].double()})
    result, expected = combine(name, updates, previous), combine(name, widened, wide)
    for module in SHAPES:
        for part in ("a", "b"):
            half = getattr(result.adapter[module], part)
            assert half.dtype == torch.bfloat16
            full = getattr(expected.adapter[module], part)
            torch.testing.assert_close(half.double(), full, rtol=2**-8, atol=1e-6)
        if result.base:
            total = result.base.totals[module]
            assert total.dtype == torch.float32
            torch.testing.assert_close(
                total.double(), expected.base.totals[module], rtol=1e-2, atol=2**-8
            )


def _widened(adapter: dict[str, Factors]) -> dict[str, Factors]:
    return {m: Factors(f.a.double(), f.b.double(), f.slots) for m, f in adapter.items()}


@EVERY
@pytest.mark.parametrize(
    ("owned", "shape"),
    [(2, (4, 7)), (2, (5, 8)), (SLOTS + 1, (5, 7)), ({1, SLOTS}, (5, 7))],
    ids=["d_in", "d_out", "rank", "slot"],
)
def test_wrong_sizes_are_refused_not_broadcast(name, owned, shape):
    good = update(name, 0, 2, 1.0)
    sends = made(name).local(1).sends
    if (sends == B and shape[0] != 5) or (sends == A and shape[1] != 7):
        pytest.skip("that factor is not sent")
    wrong = {**good.adapter, "fc": factors(owned, shape, 0).only(sends)}
    with pytest.raises(ShapeError):
        combine(name, [good, replace(good, adapter=wrong)])


@EVERY
def test_a_client_without_a_module_and_a_round_without_updates_are_no_error(name):
    previous = server(name)
    unchanged = combine(name, [], previous)
    assert_close(effective(unchanged), effective(previous))
    full, part = update(name, 0, SLOTS, 1.0), update(name, 1, 3, 1.0)
    missing = replace(part, adapter={"conv": part.adapter["conv"]})
    if made(name).equal_ranks:
        with pytest.raises(ShapeError, match="unequal ranks need another aggregator"):
            combine(name, [full, missing], previous)
        return
    result = combine(name, [full, missing], previous)
    assert all(torch.isfinite(p).all() for p in effective(result).values())
    assert result.adapter["fc"].a.shape == previous.adapter["fc"].a.shape
