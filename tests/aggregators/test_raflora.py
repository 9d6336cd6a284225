import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from polyrank.aggregators import AGGREGATORS
from polyrank.aggregators.aggregator import ServerModel
from polyrank.aggregators.flexlora import mean_product
from polyrank.aggregators.raflora import owners_mean_product, parts
from polyrank.lora.factors import Factors, prefix
from polyrank.protocol.messages import TaskId, Update


def draw(slots: torch.Tensor | int, seed: int, d_in: int = 11, d_out: int = 8) -> Factors:
    slots = prefix(slots) if isinstance(slots, int) else slots
    generator = torch.Generator().manual_seed(seed)
    a = torch.randn(len(slots), d_in, generator=generator, dtype=torch.float64)
    b = torch.randn(d_out, len(slots), generator=generator, dtype=torch.float64)
    return Factors(a, b, slots)


def part_by_part(updates: list[tuple[Factors, float]]) -> np.ndarray:
    """The formula as it stands: levels, parts, the clients that reach each."""
    levels = sorted({f.rank for f, _ in updates})
    total = np.zeros((8, 11))
    for low, high in zip([0, *levels], levels, strict=False):
        reaching = [(f, w) for f, w in updates if f.rank >= high]
        for f, w in reaching:
            part = f.b[:, low:high].numpy() @ f.a[low:high].numpy()
            total += w / sum(w for _, w in reaching) * part
    return total


@given(st.lists(st.tuples(st.integers(1, 8), st.floats(0.5, 100)), min_size=1, max_size=6))
@settings(max_examples=30, deadline=None)
def test_parts_are_averaged_over_the_clients_that_reach_them(drawn):
    updates = [(draw(rank, k), weight) for k, (rank, weight) in enumerate(drawn)]
    result = owners_mean_product(updates, draw(8, 99))
    np.testing.assert_allclose(result.b @ result.a, part_by_part(updates), atol=1e-10)


def test_slots_that_are_no_prefix_have_their_own_owners():
    """Slot 1 has both owners, of weights 1 and 3; slots 0 and 4 have one each."""
    first, second = draw(2, 1), draw(torch.tensor([1, 4]), 2)
    result = owners_mean_product([(first, 1.0), (second, 3.0)], draw(8, 0))
    outer = [
        torch.outer(f.b[:, j], f.a[j]) for f in (first, second) for j in (0, 1)
    ]  # slots 0, 1 and 1, 4
    expected = outer[0] + outer[1] / 4 + outer[2] * 3 / 4 + outer[3]
    torch.testing.assert_close(result.b @ result.a, expected)


def test_equal_ranks_are_the_mean_of_the_products():
    updates = [(draw(3, k), 1.0 + k) for k in range(3)]
    ours, mean = owners_mean_product(updates, draw(8, 0)), mean_product(updates, draw(8, 0))
    torch.testing.assert_close(ours.b @ ours.a, mean.b @ mean.a)


def test_a_high_slot_of_one_owner_is_not_shrunk_by_the_others():
    low, high = draw(1, 1), draw(2, 2)
    result = owners_mean_product([(low, 9.0), (high, 1.0)], draw(8, 0))
    shared = 0.9 * low.b @ low.a + 0.1 * high.b[:, :1] @ high.a[:1]
    torch.testing.assert_close(result.b @ result.a, shared + high.b[:, 1:] @ high.a[1:])


@pytest.mark.parametrize("split", ["balanced", "left", "right"])
def test_splits_do_not_change_the_product(split):
    updates = [(draw(3, 1), 1.0), (draw(5, 2), 2.0)]
    result = owners_mean_product(updates, draw(8, 0), split=split)
    np.testing.assert_allclose(result.b @ result.a, part_by_part(updates), atol=1e-10)


def test_knowing_who_may_answer_changes_nothing_but_the_memory():
    """Two of the five that were expected do not answer; one has scattered slots."""
    method = AGGREGATORS.build("raflora")
    owned = [prefix(2), prefix(5), prefix(5), torch.tensor([1, 4, 6]), prefix(8)]
    came = [(draw(owned[k], k), 1.0 + k) for k in (0, 1, 3)]
    server = draw(8, 99)
    previous = ServerModel({"fc": server}, {})
    updates = [
        Update(TaskId("t", 1, str(k)), {"fc": f}, {}, w, 0.0) for k, (f, w) in enumerate(came)
    ]
    told = method.expecting(previous, [{"fc": own} for own in owned])
    state = told.init(previous)
    # of slots 0 .. 7, 2 and 3 have the same owners, and so have 5 and 7
    assert len(state["modules"]["fc"].products) == 6
    for u in updates:
        state = told.add(state, u)
    found = told.finish(state, previous).adapter["fc"]
    alone = owners_mean_product(came, server)
    torch.testing.assert_close(found.b @ found.a, alone.b @ alone.a)


def test_parts_are_the_slots_that_the_same_clients_own():
    numbers = parts(6, [prefix(2), prefix(5), prefix(5)]).tolist()
    assert numbers[0] == numbers[1] != numbers[2] == numbers[3] == numbers[4] != numbers[5]


def test_memory_does_not_grow_with_the_clients_once_they_are_told():
    """Two sums, of slots 0, 1 and of 2, 3, 4: each 8 x 11 numbers at most, and one block."""

    def held(clients: int) -> int:
        ranks = [2 if k % 2 else 5 for k in range(clients)]
        told = AGGREGATORS.build("raflora").expecting(
            ServerModel({"fc": draw(8, 99)}, {}), [{"fc": prefix(rank)} for rank in ranks]
        )
        fold = told.of("fc")
        state = fold.init(draw(8, 99))
        for k, rank in enumerate(ranks):
            state = fold.add(state, draw(rank, k), 1.0)
        return sum(
            sum(b.numel() + a.numel() for b, a, _ in one._stack)
            + (0 if one._dense is None else one._dense.numel())
            for one in state.products
        )

    assert held(400) <= 2 * (8 * 11 + 8 * (8 + 11))
    assert held(400) == held(40)
