"""Aggregators: many client updates into the next global model.

An entry is a function that takes its options as keywords and returns an ``Aggregator``.
"""

from typing import TYPE_CHECKING

from polyrank.registry import Found, Registry

if TYPE_CHECKING:
    from polyrank.aggregators.aggregator import Aggregator


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
