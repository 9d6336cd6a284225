"""Allocators that remember, and how a one-shot chooser becomes one."""

from dataclasses import dataclass
from typing import Any, Protocol

from polyrank.allocators.choice import Choice, Chooser, Evidence
from polyrank.allocators.limits import Limits


class Allocator(Protocol):
    """Chooses ranks again and again, with a state of its own between rounds.

    The state is whatever the allocator needs, as JSON can hold it, so that a run can be resumed;
    ``None`` at the start and where there is none.

    One with ``every_round = True`` is asked after every round, with the state it returned last
    and with what was observed in the round; its new ranks hold from the next round on. Others,
    and every ``static`` one, are asked once, before the first round.
    """

    def step(self, state: Any, evidence: Evidence, limits: Limits) -> tuple[Choice, Any]:  # noqa: ANN401
        """Choose the ranks of a round; return them and the state for the next call."""
        ...


@dataclass(frozen=True)
class Static:
    """An allocator without a memory: the same evidence gives the same ranks.

    Args:
        chooser: a function of evidence and limits, its options already bound.
    """

    chooser: Chooser

    def step(self, state: None, evidence: Evidence, limits: Limits) -> tuple[Choice, None]:
        """Choose afresh; there is no state."""
        return self.chooser(evidence, limits), state


def static(chooser: Chooser) -> Static:
    """Wrap a one-shot chooser as an allocator."""
    return Static(chooser)
