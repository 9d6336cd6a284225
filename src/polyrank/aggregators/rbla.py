"""Rank-wise mean of LoRA factors (RBLA).

Chen et al., "RBLA: Rank-Based-LoRA-Aggregation for Fine-tuning Heterogeneous Models in
FLaaS", 2024, https://arxiv.org/abs/2408.08699

Ours, where the paper is silent: a slot that no client of the round owns keeps its value.
"""

from collections.abc import Iterable

import torch

from polyrank.aggregators.aggregator import Aggregator, PerModule, fold_module
from polyrank.aggregators.sums import SlotSums
from polyrank.lora.factors import Factors


def rank_wise_mean(updates: Iterable[tuple[Factors, float]], previous: Factors) -> Factors:
    """Average each slot over the clients that own it.

    A client of rank r is absent, not zero, from slots r and above, so low-rank clients
    never shrink them: ``x_j = sum_{k owns j} w_k x_kj / sum_{k owns j} w_k`` for row j of
    ``a`` and column j of ``b``. With equal ranks this is FedAvg on the factors.

    Args:
        updates: per client, its factors and a positive weight, usually its number of
            training examples. Read once.
        previous: the server's factors, ``a`` (r_max, d_in), ``b`` (d_out, r_max).

    Returns:
        Factors of the same shape as ``previous``; a slot without owner keeps its value.

    Raises:
        ShapeError: a client's d_in or d_out differs from the server's, or a slot is not there.
    """
    return fold_module(RankWiseMean(), updates, previous)


class RankWiseMean:
    """The rule as a fold of one module, for ``PerModule``."""

    def init(self, previous: Factors) -> SlotSums:
        """Start from nothing."""
        return SlotSums(previous)

    def add(self, state: SlotSums, factors: Factors | None, client_weight: float) -> SlotSums:
        """Take in one client's factors."""
        return state.add(factors, client_weight)

    def finish(self, state: SlotSums, previous: Factors) -> Factors:
        """Return the next factors."""
        owned = state.owners > 0
        return state.divided_by(torch.where(owned, state.owners, 1.0), previous, owned)


def rbla() -> Aggregator:
    """Average each slot over the clients that own it."""
    return Aggregator(PerModule(RankWiseMean()), frozenset({"slot_wise", "linear_sum"}))
