"""Worker processes: order, memory, and those that die, stand still, or cannot start."""

import os
import signal
from contextlib import contextmanager
from dataclasses import replace

import pytest
import torch

from polyrank.engines.local import LocalEngine
from polyrank.engines.pool import RETRIES, Jobs
from polyrank.errors import TrainingError
from polyrank.protocol.messages import Download, EvaluateTask, Failure, TaskId, Update
from polyrank.runs.preparation import prepare
from polyrank.threads import one_thread
from tests.engines.engine_tasks import NOTHING, Deadly, bits, tasks
from tests.small import small


@pytest.fixture
def prepared(tmp_path):
    return prepare(small(), tmp_path / "clients")


@contextmanager
def two_workers(workload):
    engine = LocalEngine(workload, workers=2)
    try:
        yield engine
    finally:
        engine.close()


def test_answers_come_in_the_order_of_the_tasks(prepared):
    with two_workers(prepared.workload) as engine:
        answers = list(engine.run(tasks(prepared, ["2", "0", "3", "1", "0", "2", "1", "3"])))
    assert [a.id.client for a in answers] == ["2", "0", "3", "1", "0", "2", "1", "3"]
    assert all(isinstance(a, Update) for a in answers)


def test_tasks_are_read_as_they_are_needed(prepared):
    """At most AHEAD tasks a worker are out, so memory does not grow with the cohort."""
    read = []

    def lazily():
        for task in tasks(prepared, ["0"] * 40):
            read.append(task)
            yield task

    with two_workers(prepared.workload) as engine:
        answers = engine.run(lazily())
        next(answers)
        assert len(read) <= 9
        assert len(list(answers)) == 39


def test_one_slow_task_ahead_of_many_quick_ones_holds_nobody_up_for_ever(prepared):
    """The quick ones fill all places ahead of their turn; then the slow one ends alone."""
    workload = replace(
        prepared.workload,
        clients={"slow": (torch.arange(20).repeat(200), NOTHING),
                 "quick": (torch.arange(1), NOTHING)},
    )  # fmt: skip
    with two_workers(workload) as engine:
        answers = list(engine.run(tasks(prepared, ["slow", *["quick"] * 30])))
    assert [a.id.client for a in answers] == ["slow", *["quick"] * 30]


def killed(engine, signal):
    """Do away with one of the workers."""
    victim = engine.pool.workers[0].process
    os.kill(victim.pid, signal)
    return victim


@pytest.mark.parametrize("sent", [signal.SIGKILL, signal.SIGSTOP])
@pytest.mark.parametrize("size", [1, 2**20], ids=["small", "larger than a pipe holds"])
def test_the_task_of_a_lost_worker_is_done_again_with_the_same_bits(tmp_path, sent, size):
    """One that stands still is known by its silence; a healthy one answers in far less time."""
    prepared = prepare(small(task_timeout=2), tmp_path / "clients")
    given = tasks(prepared, ["0", "1", "2", "3"])
    if size > 1:  # more than the model has: the answer is a failure, and the same one
        given = [replace(t, download=Download({}, {"much": torch.zeros(size)})) for t in given]
    with one_thread():
        undisturbed = list(map(bits, LocalEngine(prepared.workload).run(given)))
    with two_workers(prepared.workload) as engine:
        assert list(map(bits, engine.run(given))) == undisturbed
        victim = killed(engine, sent)
        assert list(map(bits, engine.run(given))) == undisturbed
        assert victim not in [w.process for w in engine.pool.workers]
        assert len(engine.pool.workers) == 2


def test_a_task_that_kills_every_worker_is_a_failure_and_the_others_are_done(prepared):
    train = prepared.workload.train
    workload = replace(
        prepared.workload,
        train=Deadly(train.inputs, train.labels),
        clients={"deadly": (torch.arange(5), NOTHING), "good": (torch.arange(5, 9), NOTHING)},
    )
    with two_workers(workload) as engine:
        lost, *done = engine.run(tasks(prepared, ["deadly", "good", "good"]))
    times = RETRIES + 1
    assert lost == Failure(lost.id, f"the worker process died (exit code -9), {times} times")
    assert all(isinstance(a, Update) for a in done)


def test_a_run_that_is_left_in_the_middle_does_not_answer_the_next(prepared):
    with two_workers(prepared.workload) as engine:
        first = engine.run(tasks(prepared, ["0"] * 8))
        next(first)
        first.close()
        answers = list(engine.run(tasks(prepared, ["1", "2", "3"])))
    assert [a.id.client for a in answers] == ["1", "2", "3"]


def test_what_keeps_a_worker_from_starting_is_said_once_with_its_place(tmp_path, capfd):
    settings = small(model="tests.engines.engine_tasks:not_in_workers")
    prepared = prepare(settings, None)
    expected = r"^ValueError: no weights here \(.*engine_tasks.py, line \d+, in not_in_workers\)$"
    with two_workers(prepared.workload) as engine, pytest.raises(TrainingError, match=expected):
        list(engine.run(tasks(prepared, ["0", "1"])))
    assert capfd.readouterr().err == ""


def test_a_job_that_is_lost_keeps_its_turn():
    ids = {client: TaskId("run", 1, client) for client in "abc"}
    jobs = Jobs((EvaluateTask(id, "client", None, 0, 1) for id in ids.values()), most=2)
    first, second = jobs.next(), jobs.next()
    assert jobs.next() is None  # two are out
    jobs.finish(second, Failure(ids["b"], "no rows"))
    jobs.lose(first, "died")
    assert list(jobs.in_turn()) == []
    assert jobs.next() is first
    for _ in range(RETRIES):
        jobs.lose(first, "died")
        first = jobs.next() or first
    assert [a.id.client for a in jobs.in_turn()] == ["a", "b"]
    assert jobs.left
