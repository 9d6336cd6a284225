"""Mean of the clients' products, cut down by an SVD (FlexLoRA, HLoRA).

Bai et al., "Federated Fine-tuning of Large Language Models under Heterogeneous Tasks and
Client Resources", 2024, https://arxiv.org/abs/2402.11505; the same aggregation is called
HLoRA in https://arxiv.org/abs/2503.00813

Ours, where the papers are silent: the split of the singular values is an option, balanced
unless said otherwise; slots beyond the numerical rank are zero, for the server to start
anew; the dense update is never formed (see ``polyrank.lora.low_rank``).

The next model is the mean of the clients present and nothing else: of directions that only
absent clients hold, high-rank or not, nothing remains, and a client without the module
counts as a zero update.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal, TypeAlias

from polyrank.aggregators.aggregator import Aggregator, PerModule, fold_module
from polyrank.aggregators.product_sums import ProductSums, SumsProducts
from polyrank.lora.factors import Factors
from polyrank.lora.low_rank import (
    Product,
    Split,
    Triples,
    as_factors,
    leading_triples,
    randomised_triples,
)

Method: TypeAlias = Literal["exact", "randomised"]

TRIPLES = {"exact": leading_triples, "randomised": randomised_triples}


def mean_product(
    updates: Iterable[tuple[Factors, float]],
    previous: Factors,
    *,
    split: Split = "balanced",
    svd: Method = "exact",
) -> Factors:
    """Average the products and keep the r_max leading singular triples.

    ``sum_k w_k b_k a_k / sum_k w_k = U S Vᵀ``; slot j is triple j, the largest first, so that
    the first r_k slots are the best that a client of rank r_k can be sent. Exact as long as
    the mean has rank r_max at most; no basis that a client uses for its factors matters.

    Args:
        updates: per client, its factors and a positive weight, usually its number of
            training examples. Read once.
        previous: the server's factors, ``a`` (r_max, d_in), ``b`` (d_out, r_max).
        split: ``balanced`` b = U √S, a = √S Vᵀ; ``left`` b = U S, a = Vᵀ; ``right`` b = U,
            a = S Vᵀ.
        svd: ``exact``, or ``randomised``, with the error of
            ``polyrank.lora.low_rank.randomised_triples``: faster where the clients' ranks add up to
            far more than r_max, and by orders where they pass min(d_in, d_out), thousands.

    Returns:
        Factors of the same shape as ``previous``; ``previous`` itself without updates.

    Raises:
        ShapeError: a client's d_in or d_out differs from the server's, or a slot is not there.
    """
    return fold_module(_MeanProduct(split, svd), updates, previous)


@dataclass(frozen=True)
class _MeanProduct(SumsProducts):
    split: Split
    svd: Method

    def finish(self, state: ProductSums, previous: Factors) -> Factors:
        if not state.total:
            return previous
        found = TRIPLES[self.svd](state.products.product(), previous.rank)
        mean = Triples(found.left, found.values / state.total, found.right)
        return as_factors(mean, previous, self.split)


def flexlora(*, split: Split = "balanced", svd: Method = "exact") -> Aggregator:
    """Average the clients' products and keep the leading singular triples.

    Args:
        split: where the singular values go: ``balanced``, ``left`` (b) or ``right`` (a).
        svd: ``exact`` or ``randomised``.
    """

    def rejoin(product: Product, like: Factors) -> Factors:
        return as_factors(TRIPLES[svd](product, like.rank), like, split)

    return Aggregator(
        PerModule(_MeanProduct(split, svd)), frozenset({"exact", "basis_free"}), rejoin=rejoin
    )
