"""The engine of a federation whose clients are on other hosts; knows of NVFlare only a sender.

A client has one task at a time. One that was given up is still at work: it is not sent more
until it has asked for more, or every round would wait for it again.
"""

import queue
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from polyrank.engines.local import LocalEngine
from polyrank.engines.nvflare.pausing import Pause
from polyrank.engines.nvflare.sender import Reply, Sender
from polyrank.errors import FederationError, MessageError
from polyrank.protocol.engine import UNLIMITED, Patience
from polyrank.protocol.messages import Answer, Counted, ExamineTask, Failure, Task
from polyrank.protocol.wire import pack, unpack

T = TypeVar("T", bound=Task)
LOOK = 0.5  # seconds between two looks at who is lost


@dataclass(eq=False)
class Errand:
    """A task on its way, and how it is cancelled."""

    task: Any
    cancel: Callable[[], None]


class Carrier:
    """Carries tasks to the clients of a federation, and examines on the server itself.

    Args:
        clients: their names, in a fixed order.
        sender: reaches them.
        setup: what each client is told before its first task.
        examiner: counts answers on the server's own rows.
        pause: asked after each round whether the job is to end.
    """

    def __init__(
        self,
        clients: Sequence[str],
        sender: Sender,
        setup: bytes,
        examiner: LocalEngine,
        pause: Pause,
    ) -> None:
        self._clients, self._sender, self._pause = list(clients), sender, pause
        self._setup, self._examiner = setup, examiner
        self._ready: set[str] = set()
        self._refused: dict[str, str] = {}
        self._keep: dict[str, list[int]] = {}

    def roster(self) -> Sequence[str]:
        """Return the names of all clients of the run, whether they are there or not."""
        return self._clients

    def run(self, tasks: Iterable[T], patience: Patience = UNLIMITED) -> Iterator[tuple[T, Answer]]:
        """Yield each task with its client's answer, as answers come."""
        came: queue.SimpleQueue[tuple[Errand, Reply]] = queue.SimpleQueue()
        waiting: deque[T] = deque()
        out: dict[str, Errand] = {}
        source, more, good = iter(tasks), True, 0
        end = time.monotonic() + patience.seconds if patience.seconds is not None else None
        try:
            while more or waiting or out:
                if self._sender.stopped():
                    raise FederationError("the job was aborted")
                while more and len(waiting) + len(out) < self._ahead:
                    task = next(source, None)
                    more = task is not None
                    if task is not None:
                        waiting.append(task)
                for task in self._startable(waiting, out):
                    waiting.remove(task)
                    if reason := self._fault(task.id.client):
                        yield task, Failure(task.id, reason)
                    else:
                        out[task.id.client] = self._begin(task, came)
                for errand, reply in _arrived(came, LOOK if out else 0):
                    if out.get(errand.task.id.client) is not errand:
                        continue
                    if self._is_ready(errand, reply):
                        out[errand.task.id.client] = self._begin(errand.task, came)
                        continue
                    del out[errand.task.id.client]
                    answer = _answer(errand.task, reply)
                    good += not isinstance(answer, Failure)
                    yield errand.task, answer
                for errand in [e for c, e in out.items() if self._sender.lost(c)]:
                    errand.cancel()
                    del out[errand.task.id.client]
                    reason = "its host is not connected any more"
                    yield errand.task, Failure(errand.task.id, reason)
                if end is not None and time.monotonic() > end and good >= patience.quorum:
                    for task in self._given_up(waiting, out, source):
                        yield (
                            task,
                            Failure(
                                task.id, f"no answer in {patience.seconds:g} s (round_timeout)"
                            ),
                        )
                    return
        finally:
            for errand in out.values():
                errand.cancel()

    @property
    def _ahead(self) -> int:
        """How many tasks may be read that have no answer: what the sums of a round hold anyway."""
        return max(8, 2 * len(self._clients))

    def _startable(self, waiting: Iterable[T], out: Mapping[str, Errand]) -> list[T]:
        """Return the first task of each client that has none out."""
        first: dict[str, T] = {}
        for task in waiting:
            first.setdefault(task.id.client, task)
        return [task for client, task in first.items() if client not in out]

    def _fault(self, client: str) -> str | None:
        return self._refused.get(client) or self._sender.fault(client)

    def _begin(self, task: T, came: "queue.SimpleQueue[tuple[Errand, Reply]]") -> Errand:
        """Send a task, or the setup of the run if its client has not had it."""
        client = task.id.client
        errand = Errand(task, lambda: None)
        told: dict[str, Any] = {"kind": "setup"}
        data = self._setup
        if client in self._ready:
            told, data = {"kind": "task"}, pack(task)
            if client in self._keep:  # once: what it trains from now on is not among them
                told["keep"] = self._keep.pop(client)
        errand.cancel = self._sender.post(
            client, told, data, lambda reply: came.put((errand, reply))
        )
        return errand

    def _is_ready(self, errand: Errand, reply: Reply) -> bool:
        """Whether this answer only says that the client is ready for its first task."""
        client = errand.task.id.client
        if client in self._ready:
            return False
        if reply.told.get("kind") == "ready":
            self._ready.add(client)
            return True
        if reason := reply.told.get("reason"):
            self._refused[client] = str(reason)
        return False

    def _given_up(
        self, waiting: Iterable[T], out: dict[str, Errand], source: Iterator[T]
    ) -> Iterator[T]:
        for errand in out.values():
            errand.cancel()
        left = [errand.task for errand in out.values()]
        out.clear()
        yield from left
        yield from waiting
        yield from source

    def examine(self, tasks: Iterable[ExamineTask]) -> Iterator[Counted | Failure]:
        """Yield the counts of the server's own rows, in the order of the tasks."""
        return self._examiner.examine(tasks)

    def commit(self, *trained: Mapping[str, int]) -> None:
        """Let clients delete, with their next task, what no kept state needs any more."""
        self._keep = {
            client: [state[client] for state in trained if client in state]
            for client in self._clients
        }
        self._pause.check()

    def close(self) -> None:
        """Free the server's own model."""
        self._examiner.close()


def _arrived(
    came: "queue.SimpleQueue[tuple[Errand, Reply]]", seconds: float
) -> Iterator[tuple[Errand, Reply]]:
    """Yield what has come, after waiting for the first at most so long."""
    try:
        yield came.get(timeout=seconds) if seconds else came.get_nowait()
        while True:
            yield came.get_nowait()
    except queue.Empty:
        return


def _answer(task: Any, reply: Reply) -> Answer:  # noqa: ANN401 - any task
    if reply.told.get("kind") == "answer":
        try:
            return unpack(reply.data)  # type: ignore[return-value]
        except MessageError as error:
            return Failure(task.id, str(error))
    return Failure(task.id, str(reply.told.get("reason") or reply.lost or "an answer of no kind"))
