"""Mean of LoRA factors whose missing slots are copies of the highest-rank clients' slots.

Byun and Lee, "Towards Federated Low-Rank Adaptation of Language Models with Rank
Heterogeneity", 2024, https://arxiv.org/abs/2406.17477

Ours, where the paper is silent: the copies are the weighted mean of the clients of the
highest rank in the round, module by module; a slot that none of these owns (slots that are no
prefix) is left to the mean of its owners; a slot that nobody owns keeps its value.
"""

from collections.abc import Iterable

import torch

from polyrank.aggregators.aggregator import Aggregator, PerModule, fold_module
from polyrank.aggregators.sums import SlotSums
from polyrank.lora.factors import Factors, of_parts


def replicated_mean(updates: Iterable[tuple[Factors, float]], previous: Factors) -> Factors:
    """Average each slot over all clients, those without it with a copy.

    With E_j the owners of slot j, H the clients of the highest rank and
    ``f_j = sum_{k in H} w_k x_kj / sum_{k in H} w_k``, the copies:
    ``x_j = (sum_{k in E_j} w_k x_kj + (sum_k w_k - sum_{k in E_j} w_k) f_j) / sum_k w_k``
    for row j of ``a`` and column j of ``b``. With equal ranks this is FedAvg on the factors.

    Args:
        updates: per client, its factors and a positive weight. Read once.
        previous: the server's factors, ``a`` (r_max, d_in), ``b`` (d_out, r_max).

    Returns:
        Factors of the same shape as ``previous``; a slot without owner keeps its value.

    Raises:
        ShapeError: a client's d_in or d_out differs from the server's, or a slot is not there.
    """
    return fold_module(_ReplicatedMean(), updates, previous)


class _Sums:
    """Sums over all clients, and over those of the highest rank seen so far."""

    def __init__(self, previous: Factors) -> None:
        self.previous = previous
        self.all = SlotSums(previous)
        self.highest = SlotSums(previous)
        self.rank = 0

    def add(self, factors: Factors | None, client_weight: float) -> "_Sums":
        self.all.add(factors, client_weight)
        if factors is None or factors.rank < self.rank:
            return self
        if factors.rank > self.rank:
            self.highest = SlotSums(self.previous)
            self.rank = factors.rank
        self.highest.add(factors, client_weight)
        return self


class _ReplicatedMean:
    def init(self, previous: Factors) -> _Sums:
        return _Sums(previous)

    def add(self, state: _Sums, factors: Factors | None, client_weight: float) -> _Sums:
        return state.add(factors, client_weight)

    def finish(self, state: _Sums, previous: Factors) -> Factors:
        sums, highest = state.all, state.highest
        owned, copied = sums.owners > 0, highest.owners > 0
        missing = (sums.total - sums.owners) / torch.where(copied, highest.owners, 1.0)
        weights = torch.where(copied, sums.total, torch.where(owned, sums.owners, 1.0))
        found = previous.tensors
        for part, old in previous.tensors.items():
            across, total = 1 - part.axis, sums.values[part.value]
            share, weight = missing.unsqueeze(across).to(total), weights.unsqueeze(across).to(total)
            mean = torch.addcmul(total, highest.values[part.value], share) / weight
            found[part] = torch.where(owned.unsqueeze(across), mean.to(old.dtype), old)
        return of_parts(found, previous.slots)


def replication() -> Aggregator:
    """Average each slot over all clients, absent ones with the highest-rank clients' mean."""
    return Aggregator(PerModule(_ReplicatedMean()), frozenset({"slot_wise"}))
