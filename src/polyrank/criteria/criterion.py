"""What a criterion is: a function of a view, and what it reads there beyond counts."""

from collections.abc import Callable
from functools import update_wrapper
from typing import Literal, TypeAlias

from polyrank.criteria.view import ClientView

Beyond: TypeAlias = Literal["losses", "tokens"]
Measure: TypeAlias = Callable[[ClientView], float]


class Criterion:
    """A function of a client's view; called as the function itself.

    Args:
        function: gives one finite float; larger means a higher rank.
        reads: ``losses`` where it reads the losses of a probe, which clients then train before the
            first round, at the cost of training; ``tokens`` where it reads their counts.
    """

    __name__: str
    __qualname__: str

    def __init__(self, function: Measure, *reads: Beyond) -> None:
        update_wrapper(self, function)
        self.function, self.reads = function, frozenset(reads)

    def __call__(self, view: ClientView) -> float:
        """Measure one client."""
        return self.function(view)


def reads_losses(function: Measure) -> Criterion:
    """Declare that a criterion reads ``epoch_losses``, ``example_losses`` or ``token_losses``."""
    return Criterion(function, "losses")


def reads_tokens(function: Measure) -> Criterion:
    """Declare that a criterion reads ``token_counts``."""
    return Criterion(function, "tokens")
