"""Server optimisers: what the server does with the step from its model to the aggregated one.

An entry is a function that takes its options as keywords and returns a ``ServerOptimizer``,
or None to take the aggregated model as it is.
"""

from types import NoneType
from typing import TYPE_CHECKING

from polyrank.registry import Found, Registry

if TYPE_CHECKING:
    from polyrank.server_optimizers.optimizer import ServerOptimizer


def _made(found: Found) -> "ServerOptimizer | None":
    from polyrank.server_optimizers.optimizer import ServerOptimizer  # torch

    return found.made(ServerOptimizer, NoneType)


SERVER_OPTIMIZERS: Registry["ServerOptimizer | None"] = Registry(
    "server optimizer",
    {
        "none": "polyrank.server_optimizers.none:none",
        "fedavgm": "polyrank.server_optimizers.fedavgm:fedavgm",
        "fedadam": "polyrank.server_optimizers.adaptive:fedadam",
        "fedyogi": "polyrank.server_optimizers.adaptive:fedyogi",
    },
    group="polyrank.server_optimizers",
    make=_made,
)
