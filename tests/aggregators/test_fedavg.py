import pytest
import torch

import polyrank
from polyrank.aggregators import AGGREGATORS
from polyrank.aggregators.aggregator import fold_module
from polyrank.errors import SettingsError, ShapeError
from polyrank.lora.factors import Factors, prefix
from tests.small import small


def filled(rank, value):
    return Factors(torch.full((rank, 2), value), torch.full((3, rank), value), prefix(rank))


def fold(updates, previous):
    return fold_module(AGGREGATORS.build("fedavg").fold.module, updates, previous)


def test_by_hand():
    """(1 * 1 + 4 * 3) / 4 = 3.25; the third slot is nobody's and keeps its 9."""
    result = fold([(filled(2, 1.0), 1.0), (filled(2, 4.0), 3.0)], filled(3, 9.0))
    assert result.a[:, 0].tolist() == [3.25, 3.25, 9.0]
    assert result.b[0].tolist() == [3.25, 3.25, 9.0]


def test_unequal_ranks_are_refused():
    with pytest.raises(ShapeError, match=r"got slots \[1\] of some alone"):
        fold([(filled(2, 1.0), 1.0), (filled(1, 1.0), 1.0)], filled(3, 9.0))


def test_other_slots_of_the_same_number_are_refused():
    other = Factors(torch.ones(2, 2), torch.ones(3, 2), torch.tensor([0, 2]))
    with pytest.raises(ShapeError, match=r"got slots \[1, 2\] of some alone"):
        fold([(filled(2, 1.0), 1.0), (other, 1.0)], filled(3, 9.0))


def test_a_run_with_unequal_ranks_does_not_start(tmp_path):
    with pytest.raises(SettingsError, match=r"needs the same rank for all clients.*'fc1'.* 1 to 6"):
        polyrank.run(small(aggregator="fedavg"), out=tmp_path / "run")
