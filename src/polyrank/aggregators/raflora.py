"""Mean of the products part by part, each over the clients that reach it, then an SVD (raFLoRA).

Wu, Hu, Min, Wang, "Preventing Rank Collapse in Federated Low-Rank Adaptation with Client
Heterogeneity", 2026, https://arxiv.org/abs/2602.13486

With rank levels R_1 < ... < R_h, the part of slots R_{j-1} .. R_j - 1 of the products is
averaged over the clients of rank R_j and above. All slots of a part have the same owners, so
this is one mean a slot over its owners, which is how it is computed here.

Ours, where the paper is silent: slots that are no prefix have their own owners too; the
weights are the clients' numbers of examples; a slot that nobody owns adds nothing; the split
of the singular values is balanced unless said otherwise.

The owners of a slot are known only when all updates are in. Until then the factors of the
round are kept: the server's memory grows with the sum of their ranks.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field

import torch
from torch import Tensor

from polyrank.adapter import Factors
from polyrank.aggregators.aggregator import Aggregator, PerModule, check_fits, fold_module
from polyrank.low_rank import FactoredSum, Product, Split, as_factors, leading_triples


def owners_mean_product(
    updates: Iterable[tuple[Factors, float]], previous: Factors, *, split: Split = "balanced"
) -> Factors:
    """Average slot by slot the outer products of its owners, add up, keep the leading triples.

    ``sum_s sum_{k owns s} (w_k / sum_{j owns s} w_j) b_ks a_ks = U S Vᵀ`` for column s of ``b_k``
    and row s of ``a_k``. With equal ranks this is the mean of the products; otherwise it is
    larger in the slots that few own, and it depends on the basis of a client's factors.

    Args:
        updates: per client, its factors and a positive weight, usually its number of
            training examples. Read once.
        previous: the server's factors, ``a`` (r_max, d_in), ``b`` (d_out, r_max).
        split: ``balanced`` b = U √S, a = √S Vᵀ; ``left`` b = U S, a = Vᵀ; ``right`` b = U,
            a = S Vᵀ.

    Returns:
        Factors of the same shape as ``previous``; ``previous`` itself if nobody owns a slot.

    Raises:
        ShapeError: a client's d_in or d_out differs from the server's, or a slot is not there.
    """
    return fold_module(_OwnersMeanProduct(split), updates, previous)


@dataclass
class _Stack:
    previous: Factors = field(repr=False)
    owners: Tensor
    clients: list[tuple[Factors, float]] = field(default_factory=list)


@dataclass(frozen=True)
class _OwnersMeanProduct:
    split: Split

    def init(self, previous: Factors) -> _Stack:
        return _Stack(previous, torch.zeros(previous.rank, dtype=torch.float64))

    def add(self, state: _Stack, factors: Factors | None, client_weight: float) -> _Stack:
        if factors is not None and factors.rank:
            check_fits(factors, state.previous.a, state.previous.b)
            state.clients.append((factors, client_weight))
            state.owners[factors.slots] += client_weight
        return state

    def finish(self, state: _Stack, previous: Factors) -> Factors:
        if not state.clients:
            return previous
        total = FactoredSum(previous.a.shape[1], previous.b.shape[0])
        for factors, client_weight in state.clients:
            total.add(factors.b, factors.a, client_weight / state.owners[factors.slots])
        return as_factors(leading_triples(total.product(), previous.rank), previous, self.split)


def raflora(*, split: Split = "balanced") -> Aggregator:
    """Average products over the owners of each slot and keep the leading singular triples.

    Args:
        split: where the singular values go: ``balanced``, ``left`` (b) or ``right`` (a).
    """

    def rejoin(product: Product, like: Factors) -> Factors:
        return as_factors(leading_triples(product, like.rank), like, split)

    return Aggregator(PerModule(_OwnersMeanProduct(split)), rejoin=rejoin)
