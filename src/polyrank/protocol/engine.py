"""The contract of an engine, which carries tasks to clients and brings their answers back."""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeVar

from polyrank.protocol.messages import Answer, Task

T = TypeVar("T", bound=Task)


@dataclass(frozen=True)
class Patience:
    """How long answers are waited for.

    Args:
        seconds: after which clients that have not answered are given up; None waits for all.
        quorum: how many answers other than failures must be in before any client is given up.
        gone: of the seconds, those that are gone already.
    """

    seconds: float | None = None
    quorum: int = 0
    gone: float = 0.0

    @property
    def left(self) -> float:
        """Seconds that are left, endless ones where all answers are waited for."""
        return math.inf if self.seconds is None else max(0.0, self.seconds - self.gone)

    def after(self, seconds: float, good: int) -> "Patience":
        """Return the patience once some time has gone and some answers are in."""
        return Patience(self.seconds, self.quorum - good, self.gone + seconds)


UNLIMITED = Patience()


class Engine(Protocol):
    """Carries tasks to clients and brings their answers back, wherever the clients are."""

    def roster(self) -> Sequence[str]:
        """Return the names of the clients that can be asked, in a fixed order."""

    def run(self, tasks: Iterable[T], patience: Patience = UNLIMITED) -> Iterator[tuple[T, Answer]]:
        """Yield each task, the very object, with its client's answer, as answers come.

        Tasks are read as they are needed: an engine does not read far beyond the oldest one
        that has no answer, since what has come is held until its turn. A client that cannot be
        reached, fails, or is given up is answered for with a ``Failure``; every task has exactly
        one answer.
        """

    def commit(self, *trained: Mapping[str, int]) -> None:
        """Delete what clients have stored and no kept state needs any more.

        Args:
            trained: of each state, client -> the last finished round in which it trained.
        """

    def close(self) -> None:
        """Free what the engine holds."""
