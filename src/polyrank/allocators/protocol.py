"""Allocators that remember, and how a one-shot chooser becomes one."""

from dataclasses import dataclass
from typing import Any, Protocol

from polyrank.allocators.choice import Choice, Chooser, Evidence
from polyrank.allocators.limits import Limits


class Allocator(Protocol):
    """Chooses ranks again and again, with a state of its own between rounds.

    The state is whatever the allocator needs, as JSON can hold it, so that a run can be resumed;
    ``None`` at the start and where there is none. It is asked before the first round, and again
    after every ``refresh_every`` rounds, unless that is None.
    """

    @property
    def refresh_every(self) -> int | None:
        """Rounds from one choice to the next."""
        ...

    def step(self, state: Any, evidence: Evidence, limits: Limits) -> tuple[Choice, Any]:  # noqa: ANN401
        """Choose the ranks of a round; return them and the state for the next call."""
        ...


@dataclass(frozen=True)
class Static:
    """An allocator without a memory: the same evidence gives the same ranks.

    Args:
        chooser: a function of evidence and limits, its options already bound.
        refresh_every: rounds from one choice to the next.
    """

    chooser: Chooser
    refresh_every: int | None = None

    def step(self, state: None, evidence: Evidence, limits: Limits) -> tuple[Choice, None]:
        """Choose afresh; there is no state."""
        return self.chooser(evidence, limits), state


def static(chooser: Chooser, refresh_every: int | None = None) -> Static:
    """Wrap a one-shot chooser as an allocator."""
    return Static(chooser, refresh_every)
