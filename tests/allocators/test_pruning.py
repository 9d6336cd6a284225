import math

import pytest
import torch

from polyrank.allocators.hetlora import Tail
from polyrank.allocators.pruning import Cut
from polyrank.lora.factors import Factors, prefix

CUT = Cut(Tail(0.8), {"fc": 2, "out": 4})


def factors(rank: int, tail: float = 1.0, seed: int = 0) -> Factors:
    """Of which the slots from floor(0.8 r) on are multiplied by ``tail``, in b alone."""
    generator = torch.Generator().manual_seed(seed)
    a, b = torch.randn(rank, 3, generator=generator), torch.randn(5, rank, generator=generator)
    b[:, math.floor(0.8 * rank) :] *= tail
    return Factors(a, b, prefix(rank))


def test_a_tail_that_training_has_shrunk_is_cut_off_and_no_other():
    """0.8 * 10 is 8 slots of "fc"; the tail of "out" has grown; equal is not smaller."""
    before = {"fc": factors(10), "out": factors(10)}
    after = {"fc": factors(10, 0.9), "out": factors(10, 1.1)}
    cut = CUT.apply(before, after)
    assert cut["fc"].slots.tolist() == list(range(8))
    assert torch.equal(cut["fc"].a, after["fc"].a[:8])
    assert torch.equal(cut["fc"].b, after["fc"].b[:, :8])
    assert cut["out"] is after["out"]
    assert CUT.apply(before, before)["fc"].rank == 10


def test_the_tail_is_judged_by_the_product_of_its_norms():
    """A row of a twice as long and a column of b half as long are as large as before."""
    before = {"fc": factors(5)}
    a, b = before["fc"].a.clone(), before["fc"].b.clone()
    a[4:] *= 2
    b[:, 4:] *= 0.51
    assert CUT.apply(before, {"fc": Factors(a, b, prefix(5))})["fc"].rank == 5
    b[:, 4:] *= 0.49 / 0.51
    assert CUT.apply(before, {"fc": Factors(a, b, prefix(5))})["fc"].rank == 4


@pytest.mark.parametrize(
    ("module", "ranks"),
    [("fc", [20, 16, 12, 9, 7, 5, 4, 3, 2, 2]), ("out", [20, 16, 12, 9, 7, 5, 4, 4])],
)
def test_a_rank_falls_to_floors_of_the_decay_and_never_below_its_least(module, ranks):
    found = [20]
    while len(found) < len(ranks):
        found.append(CUT.rank(module, found[-1]))
    assert found == ranks


def test_a_rank_below_the_least_is_neither_cut_nor_raised():
    """Ranks by hand, and caps, may be below r_min."""
    assert CUT.rank("out", 3) == 3
    assert CUT.apply({"out": factors(3)}, {"out": factors(3, 0.1)})["out"].rank == 3


def test_slots_keep_the_numbers_that_they_have_on_the_server():
    whole = factors(5)
    owned = torch.tensor([0, 2, 3, 6, 7])
    before = {"fc": Factors(whole.a, whole.b, owned)}
    shrunk = factors(5, 0.5)
    assert CUT.apply(before, {"fc": Factors(shrunk.a, shrunk.b, owned)})["fc"].slots.tolist() == [
        0,
        2,
        3,
        6,
    ]
    assert CUT.slots({"fc": owned})["fc"].tolist() == [0, 2, 3, 6]
