"""Methods that need no more of the clients than sums over them.

What a client contributes are terms of named tensors of fixed shape, so that masks could be added
to them and cancel in the sum, as in secure aggregation (Bonawitz et al., "Practical Secure
Aggregation for Privacy-Preserving Machine Learning", 2017, https://arxiv.org/abs/1611.04482).
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TypeAlias

from polyrank.aggregators.sums import SlotSums, Term, slot_terms
from polyrank.lora.factors import Factors

Contribution: TypeAlias = Callable[[Factors | None, float], Iterable[Term]]


@dataclass(frozen=True)
class LinearSum:
    """What each client contributes to the sums of one module, and how they are finished.

    It is the fold of a module, for ``PerModule``.

    Args:
        finished: the sums, and the server's factors, become the next factors.
        contribution: a client's factors and weight become terms of the sums in ``SlotSums``.
    """

    finished: Callable[[SlotSums, Factors], Factors]
    contribution: Contribution = slot_terms

    def init(self, previous: Factors) -> SlotSums:
        """Start from zeros."""
        return SlotSums(previous)

    def add(self, state: SlotSums, factors: Factors | None, client_weight: float) -> SlotSums:
        """Add one client's contribution; None where the client does not have the module.

        Raises:
            ShapeError: its factors do not fit the server's.
        """
        state.check(factors)
        for term in self.contribution(factors, client_weight):
            state.take(term)
        return state

    def finish(self, state: SlotSums, previous: Factors) -> Factors:
        """Return the next factors."""
        return self.finished(state, previous)
