"""Aggregators: many client updates into the next global model.

An entry of the table is a function that takes its options as keywords and returns an
``Aggregator``. The formulas themselves are functions of one module's factors; they are
imported, and torch with them, when they are first used.
"""

import importlib
from typing import TYPE_CHECKING

from polyrank.registry import Found, Registry

if TYPE_CHECKING:
    from polyrank.aggregators.aggregator import Aggregator
    from polyrank.aggregators.anchored import anchored_mean
    from polyrank.aggregators.fedex import mean_and_residual
    from polyrank.aggregators.flexlora import mean_product
    from polyrank.aggregators.flora import stacked_mean
    from polyrank.aggregators.florist import thresholded_mean
    from polyrank.aggregators.hetlora import norm_weighted_mean
    from polyrank.aggregators.raflora import owners_mean_product
    from polyrank.aggregators.rbla import rank_wise_mean
    from polyrank.aggregators.replication import replicated_mean
    from polyrank.aggregators.zero_padding import zero_padded_mean

__all__ = [
    "AGGREGATORS",
    "anchored_mean",
    "mean_and_residual",
    "mean_product",
    "norm_weighted_mean",
    "owners_mean_product",
    "rank_wise_mean",
    "replicated_mean",
    "stacked_mean",
    "thresholded_mean",
    "zero_padded_mean",
]


def _made(found: Found) -> "Aggregator":
    from polyrank.aggregators.aggregator import Aggregator  # torch, which settings do without

    return found.made(Aggregator)


AGGREGATORS: Registry["Aggregator"] = Registry(
    "aggregator",
    {
        "anchored": "polyrank.aggregators.anchored:anchored",
        "fedavg": "polyrank.aggregators.fedavg:fedavg",
        "fedex": "polyrank.aggregators.fedex:fedex",
        "fedsa": "polyrank.aggregators.fedsa:fedsa",
        "ffa": "polyrank.aggregators.ffa:ffa",
        "flexlora": "polyrank.aggregators.flexlora:flexlora",
        "flora": "polyrank.aggregators.flora:flora",
        "florist": "polyrank.aggregators.florist:florist",
        "hetlora": "polyrank.aggregators.hetlora:hetlora",
        "raflora": "polyrank.aggregators.raflora:raflora",
        "rbla": "polyrank.aggregators.rbla:rbla",
        "replication": "polyrank.aggregators.replication:replication",
        "rolora": "polyrank.aggregators.rolora:rolora",
        "zero_padding": "polyrank.aggregators.zero_padding:zero_padding",
    },
    group="polyrank.aggregators",
    make=_made,
)

_FROM = {
    "anchored_mean": "anchored",
    "mean_and_residual": "fedex",
    "mean_product": "flexlora",
    "norm_weighted_mean": "hetlora",
    "owners_mean_product": "raflora",
    "rank_wise_mean": "rbla",
    "replicated_mean": "replication",
    "stacked_mean": "flora",
    "thresholded_mean": "florist",
    "zero_padded_mean": "zero_padding",
}

if not TYPE_CHECKING:  # or type checkers take any name for one of ours

    def __getattr__(name: str) -> object:
        """Import the formula of a method when it is first used."""
        if name in _FROM:
            return getattr(importlib.import_module(f"polyrank.aggregators.{_FROM[name]}"), name)
        raise AttributeError(f"module 'polyrank.aggregators' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
