"""Mean of zero-padded LoRA factors, the usual baseline for unequal ranks.

Described as the naive way in Cho et al., "Heterogeneous LoRA for Federated Fine-tuning of
On-Device Foundation Models", 2024, https://arxiv.org/abs/2401.06432
"""

from collections.abc import Iterable

import torch

from polyrank.aggregators.aggregator import Aggregator, PerModule, fold_module
from polyrank.aggregators.linear_sum import LinearSum
from polyrank.aggregators.sums import SlotSums
from polyrank.lora.factors import Factors


def zero_padded_mean(updates: Iterable[tuple[Factors, float]], previous: Factors) -> Factors:
    """Average each slot over all clients, as if those without it had sent zeros.

    ``x_j = sum_{k owns j} w_k x_kj / sum_k w_k``: a slot with few owners shrinks, and one
    without any becomes zero.

    Args:
        updates: per client, its factors and a positive weight. Read once.
        previous: the server's factors, ``a`` (r_max, d_in), ``b`` (d_out, r_max).

    Returns:
        Factors of the same shape as ``previous``; ``previous`` itself without updates.

    Raises:
        ShapeError: a client's d_in or d_out differs from the server's, or a slot is not there.
    """
    return fold_module(ZERO_PADDED, updates, previous)


def mean_over_all(sums: SlotSums, previous: Factors) -> Factors:
    """Divide each slot's sum by the weight of all clients."""
    if not sums.total:
        return previous
    return sums.divided_by(torch.full_like(sums.owners, sums.total), previous)


ZERO_PADDED = LinearSum(mean_over_all)


def zero_padding() -> Aggregator:
    """Average each slot over all clients, absent ones as zeros."""
    return Aggregator(PerModule(ZERO_PADDED), frozenset({"linear_sum"}))
