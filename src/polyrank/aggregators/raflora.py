"""Mean of the products part by part, each over the clients that reach it, then an SVD (raFLoRA).

Wu, Hu, Min, Wang, "Preventing Rank Collapse in Federated Low-Rank Adaptation with Client
Heterogeneity", 2026, https://arxiv.org/abs/2602.13486

With rank levels R_1 < ... < R_h, the part of slots R_{j-1} .. R_j - 1 of the products is
averaged over the clients of rank R_j and above. All slots of a part have the same owners, so
this is one mean a slot over its owners, which is how it is computed here.

Ours, where the paper is silent: slots that are no prefix have their own owners too; the
weights are the clients' numbers of examples; a slot that nobody owns adds nothing; the split
of the singular values is balanced unless said otherwise.

How much a slot's owners weigh is known only when all updates are in. Until then slots that the
same clients own share one sum: a run says before the round who may answer. Otherwise each slot
has a sum of its own. Either way memory does not grow with the number of clients.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from polyrank.aggregators.aggregator import Aggregator, PerModule, ServerModel, fold_module
from polyrank.aggregators.sums import check_fits
from polyrank.lora.factors import Factors
from polyrank.lora.low_rank import FactoredSum, Product, Split, as_factors, leading_triples, summed


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


class _Sums:
    """A sum for each part, and the weight of each slot's owners."""

    def __init__(self, previous: Factors, parts: Tensor) -> None:
        self.previous, self.parts = previous, parts
        size = previous.a.shape[1], previous.b.shape[0]
        self.products = [FactoredSum(*size) for _ in range(int(parts.max()) + 1)]
        self.owners = torch.zeros(previous.rank, dtype=torch.float64)

    def add(self, factors: Factors, client_weight: float) -> None:
        check_fits(factors, self.previous)
        self.owners[factors.slots] += client_weight
        mine = self.parts[factors.slots]
        for part in mine.unique().tolist():
            own = mine == part
            self.products[part].add(factors.b[:, own], factors.a[own], client_weight)

    def mean(self) -> Product:
        """Every part over the weight of its owners, added up."""
        owned = [
            (self.products[part].product(), 1 / float(self.owners[self.parts == part][0]))
            for part in self.parts[self.owners > 0].unique().tolist()
        ]
        return summed(owned)


@dataclass(frozen=True)
class _OwnersMeanProduct:
    """Slots with one number in ``parts`` (r_max,) have the same owners; None: each has its own."""

    split: Split
    parts: Tensor | None = None

    def init(self, previous: Factors) -> _Sums:
        return _Sums(previous, torch.arange(previous.rank) if self.parts is None else self.parts)

    def add(self, state: _Sums, factors: Factors | None, client_weight: float) -> _Sums:
        if factors is not None and factors.rank:
            state.add(factors, client_weight)
        return state

    def finish(self, state: _Sums, previous: Factors) -> Factors:
        if not state.owners.any():
            return previous
        return as_factors(leading_triples(state.mean(), previous.rank), previous, self.split)


def raflora(*, split: Split = "balanced") -> Aggregator:
    """Average products over the owners of each slot and keep the leading singular triples.

    Args:
        split: where the singular values go: ``balanced``, ``left`` (b) or ``right`` (a).
    """

    def rejoin(product: Product, like: Factors) -> Factors:
        return as_factors(leading_triples(product, like.rank), like, split)

    def expecting(previous: ServerModel, plans: Sequence[Mapping[str, Tensor]]) -> PerModule:
        told = {}
        for module, factors in previous.adapter.items():
            owned = [plan[module] for plan in plans if module in plan]
            told[module] = _OwnersMeanProduct(split, parts(factors.rank, owned))
        return PerModule(_OwnersMeanProduct(split), told)

    return Aggregator(PerModule(_OwnersMeanProduct(split)), rejoin=rejoin, expecting=expecting)


def parts(slots: int, owned: Sequence[Tensor]) -> Tensor:
    """Number the slots (r_max,) so that two have one number if the same clients own them.

    Args:
        slots: r_max.
        owned: of each client, its slots (r_k,).
    """
    owners = torch.zeros(slots, len(owned), dtype=torch.bool)
    for client, own in enumerate(owned):
        owners[own, client] = True
    numbers: Tensor = torch.unique(owners, dim=0, return_inverse=True)[1]
    return numbers
