"""Worker processes: order, memory, and those that die, stand still, or cannot start."""

import os
import signal
from contextlib import contextmanager
from dataclasses import replace

import pytest
import torch

from polyrank.engines.local import LocalEngine
from polyrank.engines.pool import AHEAD, RETRIES
from polyrank.errors import TrainingError
from polyrank.protocol.engine import Patience
from polyrank.protocol.messages import Download, Failure, Update
from polyrank.runs.preparation import prepare
from polyrank.server.asking import asked
from polyrank.threads import one_thread
from tests.engines.engine_tasks import Deadly, bits, sites, tasks
from tests.small import small


@pytest.fixture
def prepared(tmp_path):
    return prepare(small(), tmp_path / "clients")


@contextmanager
def two_workers(crew):
    engine = LocalEngine(crew, workers=2)
    try:
        yield engine
    finally:
        engine.close()


def answers_of(engine, given):
    return [answer for _, answer in asked(engine.run, given)]


def test_every_task_comes_back_itself_with_its_answer(prepared):
    given = tasks(prepared, ["2", "0", "3", "1", "0", "2", "1", "3"])
    with two_workers(prepared.crew) as engine:
        came = list(engine.run(given))
        assert [a.id for a in answers_of(engine, given)] == [task.id for task in given]
    assert sorted(map(id, given)) == sorted(id(task) for task, _ in came)
    assert all(isinstance(a, Update) and a.id == task.id for task, a in came)


def test_tasks_are_read_as_they_are_needed(prepared):
    """At most AHEAD tasks a worker are out, so memory does not grow with the cohort."""
    read = []

    def lazily():
        for task in tasks(prepared, ["0"] * 40):
            read.append(task)
            yield task

    with two_workers(prepared.crew) as engine:
        answers = engine.run(lazily())
        next(answers)
        assert len(read) <= 9
        assert len(list(answers)) == 39


def slow_and_quick(prepared):
    rows = {"slow": torch.arange(20).repeat(1500), "quick": torch.arange(1)}
    return replace(prepared.crew, sites=sites(prepared, **rows))


def test_answers_come_as_they_are_ready_and_no_further_ahead_than_can_be_held(prepared):
    """The quick ones fill all places ahead of the slow one; then it ends, and the rest goes on."""
    with two_workers(slow_and_quick(prepared)) as engine:
        given = tasks(prepared, ["slow", *["quick"] * 30])
        order = [task.id.client for task, _ in engine.run(given)]
        assert order == [*["quick"] * (2 * AHEAD - 1), "slow", *["quick"] * (31 - 2 * AHEAD)]
        answers = answers_of(engine, given)
    assert [a.id.client for a in answers] == ["slow", *["quick"] * 30]


def test_who_is_too_late_is_given_up_once_the_quorum_is_in(prepared):
    with two_workers(slow_and_quick(prepared)) as engine:
        given = tasks(prepared, ["quick", "slow", "quick"])
        list(engine.run(given[:1]))  # the workers are there
        for quorum, lost in ((2, {"slow"}), (3, set())):
            came = list(engine.run(given, Patience(0.5, quorum)))
            assert sorted(map(id, given)) == sorted(id(task) for task, _ in came)
            late = {t.id.client: a for t, a in came if isinstance(a, Failure)}
            assert late.keys() == lost
            assert {a.reason for a in late.values()} <= {"no answer in 0.5 s (round_timeout)"}
        assert isinstance(answers_of(engine, given[:1])[0], Update)


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
        undisturbed = list(map(bits, answers_of(LocalEngine(prepared.crew), given)))
    with two_workers(prepared.crew) as engine:
        assert list(map(bits, answers_of(engine, given))) == undisturbed
        victim = killed(engine, sent)
        assert list(map(bits, answers_of(engine, given))) == undisturbed
        assert victim not in [w.process for w in engine.pool.workers]
        assert len(engine.pool.workers) == 2


def test_a_task_that_kills_every_worker_is_a_failure_and_the_others_are_done(prepared):
    train = prepared.server.rows["validation"].examples
    deadly = Deadly(train.inputs, train.labels)
    own = sites(prepared, deadly=torch.arange(5), good=torch.arange(5, 9))
    own = {c: replace(site, train=replace(site.train, examples=deadly)) for c, site in own.items()}
    with two_workers(replace(prepared.crew, sites=own)) as engine:
        lost, *done = answers_of(engine, tasks(prepared, ["deadly", "good", "good"]))
    times = RETRIES + 1
    assert lost == Failure(lost.id, f"the worker process died (exit code -9), {times} times")
    assert all(isinstance(a, Update) for a in done)


def test_a_run_that_is_left_in_the_middle_does_not_answer_the_next(prepared):
    with two_workers(prepared.crew) as engine:
        first = engine.run(tasks(prepared, ["0"] * 8))
        next(first)
        first.close()
        answers = answers_of(engine, tasks(prepared, ["1", "2", "3"]))
    assert [a.id.client for a in answers] == ["1", "2", "3"]


def test_what_keeps_a_worker_from_starting_is_said_once_with_its_place(tmp_path, capfd):
    settings = small(model="tests.engines.engine_tasks:not_in_workers")
    prepared = prepare(settings, None)
    expected = r"^ValueError: no weights here \(.*engine_tasks.py, line \d+, in not_in_workers\)$"
    with two_workers(prepared.crew) as engine, pytest.raises(TrainingError, match=expected):
        list(engine.run(tasks(prepared, ["0", "1"])))
    assert capfd.readouterr().err == ""
