import pytest
import torch

from polyrank.aggregators.rbla import rank_wise_mean
from polyrank.errors import ShapeError
from polyrank.lora.factors import Factors, prefix


def ones(rank: int, value: float, d_in: int = 2, d_out: int = 3) -> Factors:
    return Factors(torch.full((rank, d_in), value), torch.full((d_out, rank), value), prefix(rank))


def test_absent_slots_do_not_count_as_zero():
    """Weights 1 and 3: slot 0 is (1 * 2 + 3 * 6) / 4 = 5; slot 1 has one owner and stays 6."""
    result = rank_wise_mean([(ones(1, 2.0), 1.0), (ones(2, 6.0), 3.0)], ones(3, 9.0))
    assert result.a[:, 0].tolist() == [5.0, 6.0, 9.0]
    assert result.b[0].tolist() == [5.0, 6.0, 9.0]


def test_slots_that_are_no_prefix_meet_their_own_numbers():
    owner = Factors(torch.full((1, 2), 4.0), torch.full((3, 1), 4.0), torch.tensor([2]))
    result = rank_wise_mean([(ones(1, 2.0), 1.0), (owner, 1.0)], ones(3, 9.0))
    assert result.a[:, 0].tolist() == [2.0, 9.0, 4.0]


def test_without_updates_nothing_changes():
    assert torch.equal(rank_wise_mean([], ones(3, 9.0)).a, ones(3, 9.0).a)


@pytest.mark.parametrize(
    "wrong",
    [ones(1, 1.0, d_in=3), ones(1, 1.0, d_out=4), ones(4, 1.0)],
    ids=["d_in", "d_out", "slots"],
)
def test_wrong_sizes_are_refused_not_broadcast(wrong):
    with pytest.raises(ShapeError):
        rank_wise_mean([(wrong, 1.0)], ones(3, 9.0))
