"""Clients simulated on this machine: in this process, or in a pool of worker processes.

Every worker has one thread, and so should the caller (``polyrank.threads``): the sums
inside a training, and with them every bit of the result, are then the same whatever the
number of workers.
"""

import multiprocessing
import signal
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess

import torch

from polyrank.checkpoint import ClientStore
from polyrank.client import Trainer, Workload
from polyrank.messages import Answer, Failure, Task
from polyrank.wire import pack, unpack

AHEAD = 4  # tasks per worker that may be finished before their turn


class LocalEngine:
    """Clients simulated on this machine.

    Args:
        workload: data, model and settings of all clients.
        workers: 1 trains in this process; more start that many processes of one thread.
    """

    def __init__(self, workload: Workload, workers: int = 1) -> None:
        self._clients = {c: len(rows) for c, (rows, _) in workload.clients.items()}
        self._store = ClientStore(workload.store) if workload.store else None
        self._pool = _Pool(workload.share_memory(), workers) if workers > 1 else None
        self._trainer = None if self._pool else Trainer(workload)

    def roster(self) -> Mapping[str, int]:
        """Return the clients, with their number of training examples."""
        return self._clients

    def run(self, tasks: Iterable[Task]) -> Iterator[Answer]:
        """Yield one answer for each task, in the order of the tasks, read as they are needed."""
        if self._trainer:
            yield from map(self._trainer.perform, tasks)
        elif self._pool:
            yield from self._pool.run(tasks)

    def commit(self, trained: Mapping[str, int]) -> None:
        """Keep, of what clients store, only that of their last finished round."""
        if self._store:
            self._store.keep_only(trained)

    def close(self) -> None:
        """End the workers."""
        if self._pool:
            self._pool.close()


class _Pool:
    """Worker processes, each with one task at a time; messages are bytes of ``polyrank.wire``."""

    def __init__(self, workload: Workload, workers: int) -> None:
        self._context = multiprocessing.get_context("forkserver")
        self._context.set_forkserver_preload([__name__])
        self._workload = workload
        self._workers: dict[Connection, BaseProcess] = {}
        for _ in range(workers):
            self._start()

    def run(self, tasks: Iterable[Task]) -> Iterator[Answer]:
        waiting = enumerate(tasks)
        busy: dict[Connection, tuple[int, Task]] = {}
        done: dict[int, Answer] = {}
        turn = 0
        more = True
        while True:
            for worker in [w for w in self._workers if w not in busy]:
                if not more or len(busy) + len(done) >= AHEAD * len(self._workers):
                    break
                item = next(waiting, None)
                if item is None:
                    more = False
                    break
                with suppress(ConnectionError):  # a dead worker shows when its answer is read
                    worker.send_bytes(pack(item[1]))
                busy[worker] = item
            while turn in done:
                yield done.pop(turn)
                turn += 1
            if not busy and not more:
                return
            for worker in wait(list(busy)) if busy else ():  # type: ignore[assignment]
                place, task = busy.pop(worker)
                done[place] = self._receive(worker, task)

    def close(self) -> None:
        for worker, process in self._workers.items():
            worker.close()
            process.terminate()
        for process in self._workers.values():
            process.join()
        self._workers.clear()

    def _receive(self, worker: Connection, task: Task) -> Answer:
        with suppress(EOFError, ConnectionError):
            answer = unpack(worker.recv_bytes())
            return answer  # type: ignore[return-value]
        process = self._workers.pop(worker)
        process.join()
        self._start()
        return Failure(task.id, f"the worker process died (exit code {process.exitcode})")

    def _start(self) -> None:
        here, there = self._context.Pipe()
        process = self._context.Process(target=_work, args=(there, self._workload), daemon=True)
        process.start()
        there.close()
        self._workers[here] = process


def _work(pipe: Connection, workload: Workload) -> None:
    """Perform tasks until the pipe ends, which it also does when the parent dies."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    torch.set_num_threads(1)
    trainer = Trainer(workload)
    with suppress(EOFError, ConnectionError):
        while True:
            pipe.send_bytes(pack(trainer.perform(unpack(pipe.recv_bytes()))))  # type: ignore[arg-type]
