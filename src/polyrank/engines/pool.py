"""A pool of worker processes: tasks go out as bytes, answers come back as they are ready.

A worker that dies, or gives no answer for as long as ``task_timeout`` says, is replaced, and its
task is given to another one: a client's files carry the round in their name, so a training that
is repeated begins from what the first began with, and ends with the same bits.
"""

import json
import math
import signal
import struct
import time
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from socket import SO_RCVTIMEO, SO_SNDTIMEO, SOL_SOCKET, fromfd
from typing import Any, TypeVar

import torch

from polyrank import errors
from polyrank.causes import told
from polyrank.engines.crew import Crew
from polyrank.engines.start import fork_context
from polyrank.errors import MessageError
from polyrank.protocol.engine import UNLIMITED, Patience
from polyrank.protocol.messages import Answer, ExamineTask, Failure, Task
from polyrank.protocol.wire import pack, unpack

T = TypeVar("T", bound=Task | ExamineTask)

AHEAD = 4  # tasks per worker that may be finished before their turn
RETRIES = 2  # of a task whose worker was lost, and of a start
START_LIMIT = 600.0  # seconds in which a worker must be ready
ENDING = 5.0  # seconds that a worker has to end by itself once its pipe is closed


@dataclass(eq=False)
class Job:
    """A task, its place in the order, and how often it has been tried."""

    place: int
    task: Task | ExamineTask
    tries: int = 0


class Jobs:
    """Tasks that are read as they are needed, and which of them are done.

    Args:
        tasks: in the order in which they go out.
        most: how far they may go beyond the oldest one that has no answer.
    """

    def __init__(self, tasks: Iterable[Task | ExamineTask], most: int) -> None:
        self._tasks = enumerate(tasks)
        self._most = most
        self._more = True
        self._read = 0
        self._out: set[Job] = set()
        self._again: list[Job] = []

    @property
    def left(self) -> bool:
        """Whether there is anything that has no answer."""
        return bool(self._more or self._out or self._again)

    def next(self) -> Job | None:
        """Return what is to be done next; None if there is nothing now."""
        if self._again:
            job = self._again.pop(0)
        else:
            waiting = min((job.place for job in self._out), default=self._read)
            found = self._new() if self._read < waiting + self._most else None
            if found is None:
                return None
            job = found
        self._out.add(job)
        return job

    def finish(self, job: Job) -> None:
        """Mark a job as answered."""
        self._out.remove(job)

    def lose(self, job: Job, reason: str) -> Failure | None:
        """Do a job again; if that has been tried often enough, return why it failed."""
        job.tries += 1
        self._out.remove(job)
        if job.tries > RETRIES:
            tries = f"the worker process {reason}, {job.tries} times"
            return Failure(job.task.id, tries)
        self._again.append(job)
        return None

    def give_up(self) -> Iterator[Job]:
        """Give up every job that has no answer, including those not begun, and yield them."""
        yield from [*self._out, *self._again]
        self._out, self._again = set(), []
        while job := self._new():
            yield job

    def _new(self) -> Job | None:
        item = next(self._tasks, None) if self._more else None
        if item is None:
            self._more = False
            return None
        self._read += 1
        return Job(*item)


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

    They are started when the first task is asked for.

    Args:
        crew: what a worker needs to stand in for any client, in shared memory.
        count: number of processes.
        limit: seconds after which a worker that gives no answer is replaced.
    """

    def __init__(self, crew: Crew, count: int, limit: float) -> None:
        self._context = fork_context()
        self._crew = crew
        self._count = count
        self._limit = limit
        self._false_starts = 0
        self.workers: list[Worker] = []

    def run(self, tasks: Iterable[T], patience: Patience = UNLIMITED) -> Iterator[tuple[T, Answer]]:
        """Yield each task with its answer, as answers come.

        Raises:
            PolyRankError: no worker can be started; of the kind that one process would raise.
        """
        jobs = Jobs(tasks, AHEAD * self._count)
        end = time.monotonic() + patience.left
        good = 0
        came: list[tuple[Job, Answer]] = []
        try:
            while jobs.left or came:
                self._hand_out(jobs)  # first, so that nobody waits while answers are worked on
                for job, answer in came:
                    yield job.task, answer  # type: ignore[misc] # the very object that came in
                enough = good >= patience.quorum
                came = self._collect(jobs, end if enough else math.inf)
                good += sum(not isinstance(answer, Failure) for _, answer in came)
                if time.monotonic() >= end and good >= patience.quorum:
                    self._stop_working()
                    came += [(job, given_up(job.task, patience)) for job in jobs.give_up()]
        finally:
            self._stop_working()

    def close(self) -> None:
        """End the workers."""
        while self.workers:
            self._end(self.workers[0])

    def _stop_working(self) -> None:
        """End the workers that are at work; their answers are of no use any more."""
        for worker in [w for w in self.workers if w.job]:
            self._end(worker)

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

    def _collect(self, jobs: Jobs, end: float) -> list[tuple[Job, Answer]]:
        """Wait for an answer, a start, a deadline or the end; return the answers."""
        watched = {w.pipe: w for w in self.workers if w.job or not w.ready}
        if not watched:
            return []
        left = min(end, *(w.deadline for w in watched.values())) - time.monotonic()
        speaking = wait(list(watched), max(0.0, left))
        came: list[tuple[Job, Answer]] = []
        for pipe, worker in watched.items():
            job, answer = worker.job, None
            if pipe in speaking:
                answer = self._hear(worker, jobs)
            elif time.monotonic() >= worker.deadline:
                seconds = self._limit if worker.ready else START_LIMIT
                answer = self._lose(worker, jobs, f"gave no answer in {seconds:g} s (task_timeout)")
            if job and answer:
                came.append((job, answer))
        return came

    def _hear(self, worker: Worker, jobs: Jobs) -> Answer | None:
        """Take what a worker says: an answer, that it is ready, or that it is dead."""
        try:
            data = worker.pipe.recv_bytes()
        except (EOFError, ConnectionError):
            worker.process.join(ENDING)
            return self._lose(worker, jobs, f"died (exit code {worker.process.exitcode})")
        except BlockingIOError:
            return self._lose(worker, jobs, "stopped in the middle of its answer (task_timeout)")
        job, worker.job = worker.job, None
        if job is None:
            _check_start(data)
            worker.ready, self._false_starts = True, 0
            return None
        jobs.finish(job)
        return _answer(data, job.task)

    def _lose(self, worker: Worker, jobs: Jobs, reason: str) -> Failure | None:
        self._end(worker)
        if worker.job:
            return jobs.lose(worker.job, reason)
        self._false_starts += 1
        if self._false_starts > RETRIES:
            raise errors.TrainingError(f"a worker process {reason} before its first task")
        return None

    def _fill(self) -> None:
        while len(self.workers) < self._count:
            here, there = self._context.Pipe()
            _limit_waiting(here, self._limit)
            process = self._context.Process(target=_work, args=(there, self._crew), daemon=True)
            process.start()
            there.close()
            self.workers.append(Worker(here, process, time.monotonic() + START_LIMIT))

    def _end(self, worker: Worker) -> None:
        """Kill a worker, which also ends one that has stopped responding."""
        self.workers.remove(worker)
        worker.pipe.close()
        worker.process.kill()
        worker.process.join()


def given_up(task: Task | ExamineTask, patience: Patience) -> Failure:
    """Build the failure of a client whose answer is no longer waited for."""
    return Failure(task.id, f"no answer in {patience.seconds:g} s (round_timeout)")


def _limit_waiting(pipe: Connection, seconds: float) -> None:
    """Limit each read and write, so that a stopped process cannot block this one for ever."""
    whole = int(seconds)
    limit = struct.pack("ll", whole, int((seconds - whole) * 1e6))
    with fromfd(pipe.fileno(), -1, -1) as socket:
        socket.setsockopt(SOL_SOCKET, SO_SNDTIMEO, limit)
        socket.setsockopt(SOL_SOCKET, SO_RCVTIMEO, limit)


def _answer(data: bytes, task: Task | ExamineTask) -> Answer:
    try:
        return unpack(data)  # type: ignore[return-value]
    except MessageError as error:
        return Failure(task.id, str(error))


def _check_start(data: bytes) -> None:
    """Raise the error that kept a worker from starting, as a single process would."""
    if data:
        kind, reason = json.loads(data)
        found: Any = getattr(errors, kind, None)
        raise (found or errors.TrainingError)(reason)


def _work(pipe: Connection, crew: Crew) -> None:
    """Perform tasks until the pipe ends, which it also does when the parent dies."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    torch.set_num_threads(1)
    with suppress(EOFError, ConnectionError):
        try:
            performer = crew.performer()
        except errors.PolyRankError as error:
            return pipe.send_bytes(json.dumps([type(error).__name__, str(error)]).encode())
        except Exception as error:
            return pipe.send_bytes(json.dumps(["TrainingError", told(error)]).encode())
        pipe.send_bytes(b"")
        while True:
            pipe.send_bytes(pack(performer.perform(unpack(pipe.recv_bytes()))))  # type: ignore[arg-type]
