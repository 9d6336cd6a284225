"""Norm-weighted mean of zero-padded factors, and a penalty on a client's last slots (HetLoRA).

Cho et al., "Heterogeneous LoRA for Federated Fine-tuning of On-Device Foundation Models",
2024, https://arxiv.org/abs/2401.06432

The third part, clients that give up slots whose product the penalty has shrunk, is the
allocator of the same name.

Ours, where the paper is silent: one weight a client and module (public code has this, and one
a client over all modules, too); numbers of examples do not count, except for the extras; a
client of rank 1 has no tail and no penalty.
"""

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor

from polyrank.aggregators.aggregator import Aggregator, PerModule, fold_module
from polyrank.aggregators.local_rule import LocalRule
from polyrank.aggregators.sums import SlotSums
from polyrank.aggregators.zero_padding import mean_over_all
from polyrank.allocators.hetlora import kept_rank
from polyrank.errors import SettingsError
from polyrank.lora.factors import Factors, product_norm

SMALLEST = 1e-30  # in place of norm 0, so that clients that all have b = 0 are averaged too


def norm_weighted_mean(updates: Iterable[tuple[Factors, float]], previous: Factors) -> Factors:
    """Average each slot with weights ``||b_k a_k||_F``, absent ones as zeros.

    ``x_j = sum_{k owns j} s_k x_kj / sum_k s_k`` with ``s_k = ||b_k a_k||_F``, so that clients
    that learnt little, or hold few slots, dilute the others less.

    Args:
        updates: per client, its factors and a weight, which is not used. Read once.
        previous: the server's factors, ``a`` (r_max, d_in), ``b`` (d_out, r_max).

    Returns:
        Factors of the same shape as ``previous``; ``previous`` itself without updates.

    Raises:
        ShapeError: a client's d_in or d_out differs from the server's, or a slot is not there.
    """
    return fold_module(NormWeightedMean(), updates, previous)


class NormWeightedMean:
    """The rule as a fold of one module, for ``PerModule``."""

    def init(self, previous: Factors) -> SlotSums:
        """Start from nothing."""
        return SlotSums(previous)

    def add(self, state: SlotSums, factors: Factors | None, client_weight: float) -> SlotSums:
        """Take in one client's factors; None weighs nothing."""
        return state.add(factors, max(product_norm(factors), SMALLEST)) if factors else state

    def finish(self, state: SlotSums, previous: Factors) -> Factors:
        """Return the next factors."""
        return mean_over_all(state, previous)


def tail_penalty(pairs: Sequence[tuple[Tensor, Tensor]], decay: float) -> Tensor:
    """Sum over modules ``||b[:, t:]||_F ||a[t:, :]||_F`` of the tail from ``t = floor(decay r)``.

    Args:
        pairs: ``a`` (r, d_in) and ``b`` (d_out, r) of each module; gradients flow through.
        decay: share of its slots that a client would keep, above 0 and below 1.

    Returns:
        A scalar, 0 where no module has more than one slot.
    """
    terms = [pairs[0][0].new_zeros(())]
    for a, b in pairs:
        kept = max(1, kept_rank(len(a), decay))
        if kept < len(a):
            terms.append(torch.linalg.norm(b[:, kept:]) * torch.linalg.norm(a[kept:]))
    return torch.stack(terms).sum()


def hetlora(*, penalty: float = 0.001, decay: float = 0.99) -> Aggregator:
    """Average factors weighed by the norm of their product; clients shrink their last slots.

    Args:
        penalty: lambda, of the tail in the clients' loss; 0 for none.
        decay: gamma, the share of its slots that a client would keep, above 0 and below 1;
            the allocator of the same name should have the same.

    Raises:
        SettingsError: an option is out of its range.
    """
    if penalty < 0 or not 0 < decay < 1:
        raise SettingsError(
            f"hetlora: expected penalty >= 0 and 0 < decay < 1, got {penalty} and {decay}"
        )

    def shrink(pairs: Sequence[tuple[Tensor, Tensor]]) -> Tensor:
        return penalty * tail_penalty(pairs, decay)

    rule = LocalRule(penalty=shrink if penalty else None)
    fold = PerModule(NormWeightedMean())
    return Aggregator(fold, local=lambda round: rule, reads_products=True)
