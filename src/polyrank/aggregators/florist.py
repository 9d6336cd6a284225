"""Mean of the clients' products, cut where a share of its energy is reached (FLoRIST).

Ramesh, Dass, "FLoRIST: Singular Value Thresholding for Efficient and Accurate Federated
Fine-Tuning of Large Language Models", 2025, https://arxiv.org/abs/2506.09199

As in FLoRA the result goes into the base, and every round starts with new factors; one pair of
factors goes to all clients, whatever their ranks.

The paper takes thin SVDs of both stacks, and the SVD of the core between them; here the core
is that of ``polyrank.lora.low_rank``, with the same singular triples.

Ours, where our reading left it open: energy is the sum of squared singular values, the squared
Frobenius norm; the balanced split; values that are rounding of the sum are never kept; the
new factors are drawn from the seed and the round.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TypeAlias

import torch
from torch import Tensor

from polyrank.aggregators.aggregator import Aggregator, Moved, PerModule
from polyrank.aggregators.local_rule import LocalRule
from polyrank.aggregators.product_sums import ProductSums, SumsProducts
from polyrank.aggregators.sums import wide
from polyrank.errors import SettingsError, ShapeError
from polyrank.lora.factors import NONE, Factors, prefix
from polyrank.lora.low_rank import (
    FactoredSum,
    Triples,
    as_factors,
    numerical_rank,
    triples_and_norm,
)

Pair: TypeAlias = tuple[Tensor, Tensor]

FIRST_TRIES = 32  # triples looked at first; four times as many while they hold too little


def thresholded_mean(
    updates: Iterable[tuple[Factors, float]], d_in: int, d_out: int, *, tau: float = 0.9
) -> tuple[Tensor, Tensor]:
    """Average the products and keep the fewest leading triples that hold a share of the energy.

    ``sum_k w_k b_k a_k / sum_k w_k = U S Vᵀ``; p is the smallest with
    ``sum_{i<=p} s_i² >= tau sum_i s_i²``, and ``b = U_p √S_p``, ``a = √S_p V_pᵀ``, the largest
    first. What is cut has at most ``sqrt(1 - tau)`` of the mean's Frobenius norm. With
    ``tau = 1`` nothing is cut; below, even one client alone does not get its update back.

    Args:
        updates: per client, its factors ``a`` (r_k, d_in) and ``b`` (d_out, r_k) in any slots,
            and a positive weight, usually its number of training examples. Read once.
        d_in: columns of every ``a``.
        d_out: rows of every ``b``.
        tau: share of the energy to keep, above 0 and at most 1; 0.8 to 0.9 in the paper.

    Returns:
        ``b`` (d_out, p) and ``a`` (p, d_in) in the type of the first update; p = 0 without
        updates or where the mean is zero.

    Raises:
        SettingsError: ``tau`` is not above 0 and at most 1.
        ShapeError: a client's d_in or d_out differs from those given.

    Example:
        >>> one = Factors(torch.tensor([[3.0, 0.0], [0.0, 1.0]]), torch.eye(2), prefix(2))
        >>> [len(thresholded_mean([(one, 1.0)], 2, 2, tau=tau)[1]) for tau in (0.89, 0.91)]
        [1, 2]
    """
    _check_tau(tau)
    products, total, dtype = FactoredSum(d_in, d_out), 0.0, torch.float32
    for place, (factors, client_weight) in enumerate(updates):
        _check_fits(factors, d_in, d_out)
        dtype = factors.a.dtype if place == 0 else dtype
        total += client_weight
        products.add(factors.b, factors.a, client_weight)
    return _cut(products, total, tau, dtype)


def _cut(products: FactoredSum, total: float, tau: float, dtype: torch.dtype) -> Pair:
    """Return the mean's leading triples as balanced factors."""
    kept = _holding(products, tau, dtype)
    p = len(kept.values)
    mean = Triples(kept.left, kept.values / (total or 1.0), kept.right)
    a = torch.empty(p, products.d_in, dtype=dtype)
    b = torch.empty(products.d_out, p, dtype=dtype)
    result = as_factors(mean, Factors(a, b, prefix(p)))
    return result.b, result.a


@dataclass(frozen=True)
class _ThresholdedMean(SumsProducts):
    tau: float

    def finish(self, state: ProductSums, previous: Factors) -> Moved:
        step = _cut(state.products, state.total, self.tau, wide(previous.a))
        return Moved(Factors(previous.a, torch.zeros_like(previous.b), previous.slots), step)


def florist(*, tau: float = 0.9) -> Aggregator:
    """Add the mean of the products, cut to a share of its energy, to the base.

    Args:
        tau: share of the energy to keep, above 0 and at most 1.

    Raises:
        SettingsError: ``tau`` is not above 0 and at most 1.
    """
    _check_tau(tau)
    rule = LocalRule(receives=NONE, absent="fresh")
    return Aggregator(
        PerModule(_ThresholdedMean(tau)),
        frozenset({"basis_free"}),
        local=lambda round: rule,
        changes_base=True,
    )


def _holding(products: FactoredSum, tau: float, dtype: torch.dtype) -> Triples:
    """Return the fewest leading triples with ``tau`` of the energy, at most the numerical rank."""
    product = products.product()
    full = min(min(m.shape) for m in product)
    count = FIRST_TRIES if tau < 1 else full
    while True:
        found, norm = triples_and_norm(product, count)
        enough = tau * norm
        energy = found.values.square().cumsum(0)
        if count >= full or energy[-1:] >= enough:
            break
        count *= 4
    p = int((energy < enough).sum()) + 1 if tau < 1 else full
    p = min(p, numerical_rank(found.values, dtype, max(products.d_in, products.d_out)))
    return Triples(found.left[:, :p], found.values[:p], found.right[:p])


def _check_tau(tau: float) -> None:
    if not 0 < tau <= 1:
        raise SettingsError(f"florist: expected 0 < tau <= 1, got {tau}")


def _check_fits(factors: Factors, d_in: int, d_out: int) -> None:
    a, b = tuple(factors.a.shape), tuple(factors.b.shape)
    if (a, b) != ((factors.rank, d_in), (d_out, factors.rank)):
        expected = f"a ({factors.rank}, {d_in}) and b ({d_out}, {factors.rank})"
        raise ShapeError(f"florist: expected {expected}, got {a} and {b}")
