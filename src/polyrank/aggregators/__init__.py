"""Aggregators: many client updates into the next global model.

An entry is a function that takes its options as keywords and returns an ``Aggregator``.
"""

from polyrank.table import Table

AGGREGATORS = Table(
    "aggregator",
    {
        "rbla": "polyrank.aggregators.rbla:rbla",
        "zero_padding": "polyrank.aggregators.zero_padding:zero_padding",
    },
    group="polyrank.aggregators",
)
