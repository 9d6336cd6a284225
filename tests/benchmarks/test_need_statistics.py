"""How a need is read off a sweep, and how orders are compared."""

import math

import need_statistics as statistics
import pytest
import torch

from polyrank.lora.factors import Factors, prefix


def test_need_lies_where_the_line_over_log2_of_the_rank_passes_the_share():
    # 0.95 * 0.8 = 0.76, of the step from 0.6 at 2 to 0.8 at 4: 0.8 of the way, so 2 ** 1.8.
    reached = {1: 0.3, 2: 0.6, 4: 0.8, 8: 0.79, 16: 0.8}
    assert statistics.needed(reached) == pytest.approx(2**1.8)
    assert statistics.on_grid(reached) == 4


def test_all_ranks_above_the_need_must_reach_it():
    reached = {1: 0.1, 2: 1.0, 4: 0.5, 8: 1.0}
    assert 4 < statistics.needed(reached) < 8
    assert statistics.on_grid(reached) == 8


def test_the_smallest_rank_is_enough_where_all_are():
    assert statistics.needed({1: 0.96, 4: 1.0}) == statistics.on_grid({1: 0.96, 4: 1.0}) == 1


def test_agreement_counts_pairs_and_halves_none_of_the_ties():
    # Pairs of (1,1) (2,3) (3,2) (3,4): 4 agree, 1 does not, 1 tie: 3 / sqrt(5 * 6).
    assert statistics.agreement([1, 2, 3, 3], [1, 3, 2, 4]) == pytest.approx(3 / math.sqrt(30))
    assert statistics.agreement([2, 2, 2], [1, 3, 2]) is None
    assert statistics.agreement([1, 3, 2], [2, 2, 2]) is None


def test_effective_rank_of_known_shares():
    # Energies 4/5 and 1/5.
    expected = math.exp(-(0.8 * math.log(0.8) + 0.2 * math.log(0.2)))
    assert statistics.effective_rank(torch.tensor([2.0, 1.0, 0.0])) == pytest.approx(expected)
    assert statistics.effective_rank(torch.zeros(3)) == 0


def test_weighted_values_are_what_an_update_does_to_the_inputs():
    generator = torch.Generator().manual_seed(0)
    a, b, x = (torch.randn(*of, generator=generator) for of in ((3, 6), (5, 3), (40, 6)))
    root = statistics.input_root(x)
    assert torch.allclose(root @ root.T, (x.T @ x / 40).double(), atol=1e-6)
    done = x @ (b @ a).T / math.sqrt(40)
    values = statistics.weighted_values(Factors(a, b, prefix(3)), root)
    assert torch.allclose(values, torch.linalg.svdvals(done.double())[:3], rtol=1e-5)


def test_mean_and_spread_of_what_was_measured():
    assert statistics.mean_spread([1.0, None, 3.0]) == (2.0, pytest.approx(math.sqrt(2)))
    assert statistics.mean_spread([None]) is None
    assert statistics.mean_spread([5.0]) == (5.0, 0.0)
