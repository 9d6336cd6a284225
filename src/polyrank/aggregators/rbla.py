"""Rank-wise mean of LoRA factors (RBLA).

Chen et al., "RBLA: Rank-Based-LoRA-Aggregation for Fine-tuning Heterogeneous Models in
FLaaS", 2024, https://arxiv.org/abs/2408.08699

Ours, where the paper is silent: a slot that no client of the round owns keeps its value.
"""

from collections.abc import Iterable

import torch

from polyrank.aggregators.aggregator import Aggregator, PerModule, fold_module
from polyrank.aggregators.linear_sum import LinearSum
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
    return fold_module(RANK_WISE, updates, previous)


def mean_over_owners(sums: SlotSums, previous: Factors) -> Factors:
    """Divide each slot's sum by the weight of its owners."""
    owned = sums.owners > 0
    return sums.divided_by(torch.where(owned, sums.owners, 1.0), previous, owned)


RANK_WISE = LinearSum(mean_over_owners)


def rbla() -> Aggregator:
    """Average each slot over the clients that own it."""
    return Aggregator(PerModule(RANK_WISE), frozenset({"slot_wise", "linear_sum"}))
