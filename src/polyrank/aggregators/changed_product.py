"""Mean of changes of the product, added to the server's product, for methods that rejoin products.

Where every client starts from all of the server's slots and sends its change ``D_k`` of the
product in place of its factors, the mean of the clients' products is ``B A + sum_k p_k D_k``.
So a method that makes its next factors of the mean of the products alone needs no more than
that, and ``D_k`` may have any rank. Ours; PowerSGD (https://arxiv.org/abs/1905.13727) sums
low-rank changes in the same way.
"""

from collections.abc import Callable
from dataclasses import dataclass

from polyrank.aggregators.product_sums import ProductSums
from polyrank.lora.factors import Factors
from polyrank.lora.low_rank import FactoredSum, Product, scaled, summed


@dataclass(frozen=True)
class ChangedProduct:
    """The rule as a fold of one module, for ``PerModule``.

    Args:
        rejoin: makes the server's factors of a product.
    """

    rejoin: Callable[[Product, Factors], Factors]

    def init(self, previous: Factors) -> ProductSums:
        """Start from nothing."""
        return ProductSums(FactoredSum(previous.a.shape[1], previous.b.shape[0]), previous)

    def add(self, state: ProductSums, factors: Factors | None, client_weight: float) -> ProductSums:
        """Take in one client's change; None is no change."""
        state.total += client_weight
        if factors is not None and factors.rank:
            state.products.add(factors.b, factors.a, client_weight)
        return state

    def finish(self, state: ProductSums, previous: Factors) -> Factors:
        """Return the next factors; ``previous`` itself where nothing has changed."""
        if not state.total:
            return previous
        mean = scaled(state.products.product(), 1 / state.total)
        if not mean[0].any():
            return previous
        now = previous.b.double(), previous.a.double()
        return self.rejoin(summed([(now, 1.0), (mean, 1.0)]), previous)
