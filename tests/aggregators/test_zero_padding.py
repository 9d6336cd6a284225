import torch

from polyrank.aggregators.zero_padding import ZERO_PADDED, zero_padded_mean
from polyrank.lora.factors import Factors, prefix


def ones(rank: int, value: float) -> Factors:
    return Factors(torch.full((rank, 2), value), torch.full((3, rank), value), prefix(rank))


def test_absent_slots_count_as_zero():
    """Weights 1, 3: slot 0 is (1 * 2 + 3 * 6) / 4 = 5, slot 1 is 3 * 6 / 4 = 4.5, slot 2 is 0."""
    result = zero_padded_mean([(ones(1, 2.0), 1.0), (ones(2, 6.0), 3.0)], ones(3, 9.0))
    assert result.a[:, 0].tolist() == [5.0, 4.5, 0.0]
    assert result.b[0].tolist() == [5.0, 4.5, 0.0]


def test_a_client_without_the_module_counts_as_zeros_too():
    """(3 * 6 + 1 * 0) / 4."""
    fold, previous = ZERO_PADDED, ones(2, 9.0)
    state = fold.add(fold.add(fold.init(previous), None, 1.0), ones(2, 6.0), 3.0)
    assert fold.finish(state, previous).a[:, 0].tolist() == [4.5, 4.5]


def test_without_updates_nothing_changes():
    assert torch.equal(zero_padded_mean([], ones(3, 9.0)).b, ones(3, 9.0).b)
