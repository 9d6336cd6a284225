"""Allocators that remember, and how a one-shot chooser becomes one."""

from dataclasses import dataclass
from typing import Any, Protocol

from polyrank.allocators.choice import Choice, Chooser, Evidence
from polyrank.allocators.limits import Limits
from polyrank.allocators.needs import NOTHING, Needs, needs_of


class Allocator(Protocol):
    """Chooses ranks again and again, with a state of its own between rounds.

    The state is whatever the allocator needs, as JSON can hold it, so that a run can be resumed;
    ``None`` at the start and where there is none. It is asked before the first round, and again
    after every ``ranks.refresh_every`` rounds of the settings.
    """

    @property
    def needs(self) -> Needs:
        """What a run must do for it."""
        ...

    def step(self, state: Any, evidence: Evidence, limits: Limits) -> tuple[Choice, Any]:  # noqa: ANN401
        """Choose the ranks of a round; return them and the state for the next call."""
        ...


@dataclass(frozen=True)
class Static:
    """An allocator without a memory: the same evidence gives the same ranks.

    Args:
        chooser: a function of evidence and limits, its options already bound.
        needs: what it needs.
    """

    chooser: Chooser
    needs: Needs = NOTHING

    def step(self, state: None, evidence: Evidence, limits: Limits) -> tuple[Choice, None]:
        """Choose afresh; there is no state."""
        return self.chooser(evidence, limits), state


def static(chooser: Chooser) -> Static:
    """Wrap a one-shot chooser as an allocator that needs what the chooser says."""
    return Static(chooser, needs_of(chooser))
