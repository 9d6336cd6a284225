"""The weighted sum of the clients' products, for methods that need no more of the updates."""

from dataclasses import dataclass, field

from polyrank.aggregators.sums import check_fits
from polyrank.lora.factors import Factors
from polyrank.lora.low_rank import FactoredSum


@dataclass
class ProductSums:
    """The products so far, and the sum of their weights."""

    products: FactoredSum
    previous: Factors = field(repr=False)
    total: float = 0.0


class SumsProducts:
    """Two thirds of a fold of one module: how it begins and what it takes in."""

    def init(self, previous: Factors) -> ProductSums:
        """Start from nothing."""
        return ProductSums(FactoredSum(previous.a.shape[1], previous.b.shape[0]), previous)

    def add(self, state: ProductSums, factors: Factors | None, client_weight: float) -> ProductSums:
        """Take in one client's factors; None counts as a zero update."""
        state.total += client_weight
        if factors is not None and factors.rank:
            check_fits(factors, state.previous)
            state.products.add(factors.b, factors.a, client_weight)
        return state
