"""A pool of worker processes: tasks go out as bytes, answers come back in the order of the tasks.

A worker that dies, or gives no answer for as long as ``task_timeout`` says, is replaced, and its
task is given to another one: a client's files carry the round in their name, so a training that
is repeated begins from what the first began with, and ends with the same bits.
"""

import json
import multiprocessing
import signal
import struct
import time
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from socket import SO_RCVTIMEO, SO_SNDTIMEO, SOL_SOCKET, fromfd
from typing import Any

import torch

from polyrank import errors
from polyrank.causes import told
from polyrank.client.trainer import Trainer, Workload
from polyrank.errors import MessageError
from polyrank.protocol.messages import Answer, Failure, Task
from polyrank.protocol.wire import pack, unpack

AHEAD = 4  # tasks per worker that may be finished before their turn
RETRIES = 2  # of a task whose worker was lost, and of a start
START_LIMIT = 600.0  # seconds in which a worker must be ready
ENDING = 5.0  # seconds that a worker has to end by itself once its pipe is closed


@dataclass(eq=False)
class Job:
    """A task, its place in the order, and how often it has been tried."""

    place: int
    task: Task
    tries: int = 0


class Jobs:
    """Tasks that are read as they are needed and answered in their order.

    Args:
        tasks: in the order of their answers.
        most: that may be out, or wait for their turn with an answer.
    """

    def __init__(self, tasks: Iterable[Task], most: int) -> None:
        self._tasks = enumerate(tasks)
        self._most = most
        self._more = True
        self._out: set[Job] = set()
        self._again: list[Job] = []
        self._done: dict[int, Answer] = {}
        self._turn = 0

    @property
    def left(self) -> bool:
        """Whether there is anything that has not been answered."""
        return bool(self._more or self._out or self._again or self._done)

    def next(self) -> Job | None:
        """Return what is to be done next; None if there is nothing now."""
        if self._again:
            job = self._again.pop(0)
        elif self._more and len(self._out) + len(self._done) < self._most:
            item = next(self._tasks, None)
            if item is None:
                self._more = False
                return None
            job = Job(*item)
        else:
            return None
        self._out.add(job)
        return job

    def finish(self, job: Job, answer: Answer) -> None:
        """Take the answer of a job."""
        self._out.remove(job)
        self._done[job.place] = answer

    def lose(self, job: Job, reason: str) -> None:
        """Do a job again, unless that has been tried often enough."""
        job.tries += 1
        if job.tries > RETRIES:
            tries = f"the worker process {reason}, {job.tries} times"
            return self.finish(job, Failure(job.task.id, tries))
        self._out.remove(job)
        self._again.append(job)

    def in_turn(self) -> Iterator[Answer]:
        """Yield the answers whose turn it is."""
        while self._turn in self._done:
            yield self._done.pop(self._turn)
            self._turn += 1


@dataclass(eq=False)
class Worker:
    """A process, the pipe to it, what it is doing, and until when."""

    pipe: Connection
    process: BaseProcess
    deadline: float
    ready: bool = False
    job: Job | None = None


class Pool:
    """Worker processes, each with one task at a time; messages are bytes of ``protocol.wire``.

    Args:
        workload: data, model and settings of all clients, in shared memory.
        count: number of processes.
    """

    def __init__(self, workload: Workload, count: int) -> None:
        self._context = multiprocessing.get_context("forkserver")
        self._context.set_forkserver_preload([__name__])
        self._workload = workload
        self._count = count
        self._limit = workload.settings.task_timeout
        self._false_starts = 0
        self.workers: list[Worker] = []
        self._fill()

    def run(self, tasks: Iterable[Task]) -> Iterator[Answer]:
        """Yield one answer for each task, in the order of the tasks, read as they are needed.

        Raises:
            PolyRankError: no worker can be started; of the kind that one process would raise.
        """
        jobs = Jobs(tasks, AHEAD * self._count)
        try:
            while jobs.left:
                self._hand_out(jobs)
                yield from jobs.in_turn()
                self._collect(jobs)
        finally:
            for worker in [w for w in self.workers if w.job]:  # its answer is of no use any more
                self._end(worker)

    def close(self) -> None:
        """End the workers."""
        while self.workers:
            self._end(self.workers[0])

    def _hand_out(self, jobs: Jobs) -> None:
        self._fill()
        for worker in self.workers:
            if not worker.ready or worker.job:
                continue
            worker.job = jobs.next()
            if worker.job is None:
                return
            worker.deadline = time.monotonic() + self._limit
            data = pack(worker.job.task)
            with suppress(OSError):  # one that is dead or silent shows when its answer is read
                worker.pipe.send_bytes(data)

    def _collect(self, jobs: Jobs) -> None:
        """Wait for an answer, a start, or a deadline."""
        watched = {w.pipe: w for w in self.workers if w.job or not w.ready}
        if not watched:
            return
        left = min(w.deadline for w in watched.values()) - time.monotonic()
        speaking = wait(list(watched), max(0.0, left))
        for pipe, worker in watched.items():
            if pipe in speaking:
                self._hear(worker, jobs)
            elif time.monotonic() >= worker.deadline:
                seconds = self._limit if worker.ready else START_LIMIT
                self._lose(worker, jobs, f"gave no answer in {seconds:g} s (task_timeout)")

    def _hear(self, worker: Worker, jobs: Jobs) -> None:
        try:
            data = worker.pipe.recv_bytes()
        except (EOFError, ConnectionError):
            worker.process.join(ENDING)
            return self._lose(worker, jobs, f"died (exit code {worker.process.exitcode})")
        except BlockingIOError:
            return self._lose(worker, jobs, "stopped in the middle of its answer (task_timeout)")
        if worker.job:
            jobs.finish(worker.job, _answer(data, worker.job.task))
            worker.job = None
        else:
            _check_start(data)
            worker.ready, self._false_starts = True, 0

    def _lose(self, worker: Worker, jobs: Jobs, reason: str) -> None:
        self._end(worker)
        if worker.job:
            return jobs.lose(worker.job, reason)
        self._false_starts += 1
        if self._false_starts > RETRIES:
            raise errors.TrainingError(f"a worker process {reason} before its first task")

    def _fill(self) -> None:
        while len(self.workers) < self._count:
            here, there = self._context.Pipe()
            _limit_waiting(here, self._limit)
            process = self._context.Process(target=_work, args=(there, self._workload), daemon=True)
            process.start()
            there.close()
            self.workers.append(Worker(here, process, time.monotonic() + START_LIMIT))

    def _end(self, worker: Worker) -> None:
        """Kill it: one that stands still hears nothing else."""
        self.workers.remove(worker)
        worker.pipe.close()
        worker.process.kill()
        worker.process.join()


def _limit_waiting(pipe: Connection, seconds: float) -> None:
    """Let no single read or write wait for ever on a process that has stopped half way."""
    whole = int(seconds)
    limit = struct.pack("ll", whole, int((seconds - whole) * 1e6))
    with fromfd(pipe.fileno(), -1, -1) as socket:
        socket.setsockopt(SOL_SOCKET, SO_SNDTIMEO, limit)
        socket.setsockopt(SOL_SOCKET, SO_RCVTIMEO, limit)


def _answer(data: bytes, task: Task) -> Answer:
    try:
        return unpack(data)  # type: ignore[return-value]
    except MessageError as error:
        return Failure(task.id, str(error))


def _check_start(data: bytes) -> None:
    """Raise what kept a worker from starting, as one process would have raised it."""
    if data:
        kind, reason = json.loads(data)
        found: Any = getattr(errors, kind, None)
        raise (found or errors.TrainingError)(reason)


def _work(pipe: Connection, workload: Workload) -> None:
    """Perform tasks until the pipe ends, which it also does when the parent dies."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    torch.set_num_threads(1)
    with suppress(EOFError, ConnectionError):
        try:
            trainer = Trainer(workload)
        except errors.PolyRankError as error:
            return pipe.send_bytes(json.dumps([type(error).__name__, str(error)]).encode())
        except Exception as error:
            return pipe.send_bytes(json.dumps(["TrainingError", told(error)]).encode())
        pipe.send_bytes(b"")
        while True:
            pipe.send_bytes(pack(trainer.perform(unpack(pipe.recv_bytes()))))  # type: ignore[arg-type]
