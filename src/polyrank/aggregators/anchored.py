"""Mean of the products in which a client that lacks a slot counts with the server's own.

Ours. FlexLoRA's mean of the products pulls the slots of high-rank clients to zero, RBLA's mean
over owners blows them up. Here the mean is over the *changes* of the whole model: every client
is sent all slots, works with all, trains and sends its own, and its product is the server's
with these slots replaced. With c_j the share of the weights that owns slot j:

    N = sum_k p_k b_k a_k + B diag(1 - c) A

Then ``N = U S Vᵀ`` is cut to the server's slots and split so that ``|a_j|² - |b_j|²`` of every
slot is what it was when training began, which gradient descent on ``b a`` keeps: the split
by square roots changes the clients' step sizes by orders of magnitude, and U S / Vᵀ diverges.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

import torch
from torch import Tensor

from polyrank.aggregators.aggregator import Aggregator, PerModule, fold_module
from polyrank.aggregators.local_rule import LocalRule
from polyrank.aggregators.sums import check_fits
from polyrank.lora.factors import Factors
from polyrank.lora.low_rank import FactoredSum, Product, Triples, leading_triples, numerical_rank

View: TypeAlias = Literal["full", "slice"]
START = 1 / 3  # mean squared norm of a new row of a: d_in numbers, uniform in +-1/sqrt(d_in)


def anchored_mean(updates: Iterable[tuple[Factors, float]], previous: Factors) -> Factors:
    """Average the products with absent slots at the server's values; keep r_max triples.

    Args:
        updates: per client, its own slots after training and a positive weight, usually its
            number of training examples. Read once.
        previous: the server's factors, ``a`` (r_max, d_in), ``b`` (d_out, r_max).

    Returns:
        Factors of the same shape as ``previous``, the largest triple first; ``previous`` itself
        without updates.

    Raises:
        ShapeError: a client's d_in or d_out differs from the server's, or a slot is not there.
    """
    return fold_module(_AnchoredMean(), updates, previous)


def as_trained(product: Product, like: Factors) -> Factors:
    """Cut a product to the slots of ``like`` and split it as training would have.

    ``a_j = t v_j`` and ``b_j = (s / t) u_j`` with ``t² = (c + sqrt(c² + 4 s²)) / 2`` for the
    singular value s, so that ``|a_j|² - |b_j|² = c``, that of a new slot. Slots beyond the
    numerical rank are zero, for the server to start anew.
    """
    return _split(leading_triples(product, like.rank), like)


def _split(triples: Triples, like: Factors) -> Factors:
    rank = numerical_rank(triples.values, like.a.dtype, max(like.a.shape[1], like.b.shape[0]))
    s = triples.values[:rank]
    t = ((START + (START**2 + 4 * s**2).sqrt()) / 2).sqrt()
    a, b = torch.zeros_like(like.a), torch.zeros_like(like.b)
    a[:rank] = triples.right[:rank] * t[:, None]
    b[:, :rank] = triples.left[:, :rank] * (s / t)
    return Factors(a, b, like.slots)


@dataclass
class _Sum:
    products: FactoredSum
    previous: Factors = field(repr=False)
    owners: Tensor
    total: float = 0.0


class _AnchoredMean:
    def init(self, previous: Factors) -> _Sum:
        products = FactoredSum(previous.a.shape[1], previous.b.shape[0])
        return _Sum(products, previous, torch.zeros(previous.rank, dtype=torch.float64))

    def add(self, state: _Sum, factors: Factors | None, client_weight: float) -> _Sum:
        state.total += client_weight
        if factors is not None and factors.rank:
            check_fits(factors, state.previous)
            state.products.add(factors.b, factors.a, client_weight)
            state.owners[factors.slots] += client_weight
        return state

    def finish(self, state: _Sum, previous: Factors) -> Factors:
        if not state.total:
            return previous
        state.products.add(previous.b, previous.a, state.total - state.owners)
        found = leading_triples(state.products.product(), previous.rank)
        return _split(Triples(found.left, found.values / state.total, found.right), previous)


def anchored(*, view: View = "full") -> Aggregator:
    """Average whole products, a client's absent slots at the server's values.

    Args:
        view: ``full``: clients are sent all slots, and train their own; ``slice``: they are sent
            their own, and work without the others.
    """
    rule = LocalRule(view="all" if view == "full" else "own")
    return Aggregator(
        PerModule(_AnchoredMean()),
        frozenset({"basis_free"}),
        local=lambda round: rule,
        rejoin=as_trained,
    )
