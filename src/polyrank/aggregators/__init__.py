"""Aggregators: many client updates into the next global model.

An entry is a function that takes its options as keywords and returns an ``Aggregator``.
"""

from polyrank.table import Table

AGGREGATORS = Table(
    "aggregator",
    {
        "flexlora": "polyrank.aggregators.flexlora:flexlora",
        "raflora": "polyrank.aggregators.raflora:raflora",
        "rbla": "polyrank.aggregators.rbla:rbla",
        "replication": "polyrank.aggregators.replication:replication",
        "zero_padding": "polyrank.aggregators.zero_padding:zero_padding",
    },
    group="polyrank.aggregators",
)
