"""Server optimisers: what the server does with the step from its model to the aggregated one.

An entry is a function that takes its options as keywords and returns a ``ServerOptimizer``,
or None to take the aggregated model as it is.
"""

from polyrank.registry import Table

SERVER_OPTIMIZERS = Table(
    "server optimizer",
    {
        "none": "polyrank.server_optimizers.none:none",
        "fedavgm": "polyrank.server_optimizers.fedavgm:fedavgm",
        "fedadam": "polyrank.server_optimizers.adaptive:fedadam",
        "fedyogi": "polyrank.server_optimizers.adaptive:fedyogi",
    },
    group="polyrank.server_optimizers",
)
