"""Average the factors, and add to the base what their product misses (FedEx-LoRA).

Singhal, Ponkshe, Vepakomma, "FedEx-LoRA: Exact Aggregation for Federated and Efficient
Fine-Tuning of Foundation Models", 2024, https://arxiv.org/abs/2410.09432

Ours: clients weigh by their numbers of training examples, as with the other methods here;
``client_weights = "equal"`` is the paper's mean. And as the paper has equal ranks: factors are
averaged as if absent slots were zeros, and the residual is that of the clients' own products, so
that base and full adapter together are the exact mean whatever the ranks. A client of rank r
works with the first r slots of the mean.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from polyrank.aggregators.aggregator import (
    Aggregator,
    ClientWeights,
    Moved,
    PerModule,
    fold_moved,
)
from polyrank.aggregators.sums import SlotSums
from polyrank.aggregators.zero_padding import mean_over_all
from polyrank.lora.factors import Factors
from polyrank.lora.low_rank import FactoredSum, scaled


def mean_and_residual(updates: Iterable[tuple[Factors, float]], previous: Factors) -> Moved:
    """Average factors, absent slots as zeros, and find ``mean(b a) - mean(b) mean(a)``.

    Args:
        updates: per client, its factors and a positive weight, usually its number of
            training examples. Read once.
        previous: the server's factors, ``a`` (r_max, d_in), ``b`` (d_out, r_max).

    Returns:
        The mean factors, and the residual as ``b`` (d_out, n) and ``a`` (n, d_in), n the sum of
        the ranks and r_max, or as a matrix (d_out, d_in) where n reaches min(d_in, d_out).

    Raises:
        ShapeError: a client's d_in or d_out differs from the server's, or a slot is not there.
    """
    moved = fold_moved(_MeanAndResidual(), updates, previous)
    assert isinstance(moved, Moved)
    return moved


@dataclass
class _Sums:
    factors: SlotSums
    products: FactoredSum


class _MeanAndResidual:
    def init(self, previous: Factors) -> _Sums:
        d_in, d_out = previous.a.shape[1], previous.b.shape[0]
        return _Sums(SlotSums(previous), FactoredSum(d_in, d_out))

    def add(self, state: _Sums, factors: Factors | None, client_weight: float) -> _Sums:
        state.factors.add(factors, client_weight)
        if factors is not None and factors.rank:
            state.products.add(factors.b, factors.a, client_weight)
        return state

    def finish(self, state: _Sums, previous: Factors) -> Moved:
        total = state.factors.total
        mean = mean_over_all(state.factors, previous)
        if total:
            state.products.add(mean.b, mean.a, -total)
        return Moved(mean, scaled(state.products.product(), 1 / total if total else 0.0))


def fedex(*, client_weights: ClientWeights = "examples") -> Aggregator:
    """Average the factors, and add the rest of the mean product to the base.

    Args:
        client_weights: a client's weight in the means: ``examples``, its number of training
            examples, or ``equal``, as in the paper.
    """
    return Aggregator(
        PerModule(_MeanAndResidual(), client_weights=client_weights),
        frozenset({"exact", "basis_free"}),
        changes_base=True,
    )
