"""Clients simulated on this machine: in this process, or in a pool of worker processes.

Every worker has one thread, and so should the caller (``polyrank.threads``): the sums
inside a training, and with them every bit of the result, are then the same whatever the
number of workers.
"""

import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from typing import TypeVar

from polyrank.disk.checkpoint import ClientStore
from polyrank.engines.crew import Crew, Performer
from polyrank.engines.crowding import Crowding
from polyrank.engines.pool import Pool, given_up
from polyrank.protocol.engine import UNLIMITED, Patience
from polyrank.protocol.messages import (
    Answer,
    Counted,
    ExamineTask,
    Failure,
    Task,
    TaskId,
    Update,
)
from polyrank.server.asking import asked

T = TypeVar("T", bound=Task | ExamineTask)


class LocalEngine:
    """Clients simulated on this machine, and the server's own evaluation beside them.

    Nothing is started before the first task.

    Args:
        crew: what all clients have, and the server.
        workers: 1 trains in this process; more start that many processes of one thread.
        crowding: when to go on with workers after a start in this process; None for never.
    """

    def __init__(self, crew: Crew, workers: int = 1, crowding: Crowding | None = None) -> None:
        self._crew = crew
        self._store = ClientStore(crew.store) if crew.store else None
        self._crowding = crowding
        self.pool = self._pool(workers) if workers > 1 else None

    def _pool(self, workers: int) -> Pool:
        return Pool(self._crew.share_memory(), workers, self._crew.blueprint.settings.task_timeout)

    @cached_property
    def _performer(self) -> Performer:
        return self._crew.performer()

    def roster(self) -> Sequence[str]:
        """Return the names of the clients."""
        return list(self._crew.sites)

    def run(self, tasks: Iterable[T], patience: Patience = UNLIMITED) -> Iterator[tuple[T, Answer]]:
        """Yield each task with its answer, as answers come."""
        started, good, given = time.monotonic(), 0, iter(tasks)
        for place, task in enumerate(() if self.pool else given, 1):
            late = patience.seconds is not None and time.monotonic() - started > patience.seconds
            if late and good >= patience.quorum:
                yield task, given_up(task, patience)
                continue
            performer, began = self._performer, time.monotonic()
            answer = performer.perform(task)
            seconds = time.monotonic() - began
            good += not isinstance(answer, Failure)
            yield task, answer
            if isinstance(answer, Update) and self._crowded(answer.id, place, seconds):
                break
        if self.pool:
            yield from self.pool.run(given, patience.after(time.monotonic() - started, good))

    def _crowded(self, done: TaskId, place: int, seconds: float) -> bool:
        """Start workers if they are worth it by now; return whether that was done."""
        if self._crowding is None:
            return False
        self._crowding.took(seconds)
        if not self._crowding.wanted(done, place):
            return False
        self.pool, self._crowding = self._pool(self._crowding.workers), None
        del self._performer  # its model is of no use any more
        return True

    def examine(self, tasks: Iterable[ExamineTask]) -> Iterator[Counted | Failure]:
        """Yield the counts of the server's own rows, in the order of the tasks."""
        for _, answer in asked(self.run, tasks):
            assert isinstance(answer, Counted | Failure)
            yield answer

    def commit(self, *trained: Mapping[str, int]) -> None:
        """Delete what clients have stored and no kept state needs any more."""
        if self._store:
            self._store.keep_only(*trained)

    def close(self) -> None:
        """End the workers."""
        if self.pool:
            self.pool.close()
