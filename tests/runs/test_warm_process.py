"""Trainers that start as copies of a process that has imported what they need."""

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from polyrank.client.agreement import Agreement
from polyrank.client.apart import TrainerApart
from polyrank.errors import TrainingError


def trainers(client: str) -> list[psutil.Process]:
    started = psutil.Process().children(recursive=True)
    return [process for process in started if process.name() == f"client {client}"]


def apart(folder: Path, client: str, warm: str | None = None) -> TrainerApart:
    path = folder / f"{client}.json"
    Agreement(client, str(folder / client), warm=warm).write(path)
    return TrainerApart(path)


def asked(trainer: TrainerApart) -> str:
    told, _ = trainer.ask({"kind": "task"}, b"", lambda: False)
    return str(told["reason"])


@pytest.fixture(scope="module")
def first(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TrainerApart]:
    """A trainer whose host has no process to start from: it has its own."""
    trainer = apart(tmp_path_factory.mktemp("own"), "a")
    assert trainer._own
    yield trainer
    trainer.stop()
    assert not trainers("a")
    assert trainer._own.process.returncode == 0
    assert not Path(trainer._own.path).exists()


def test_trainers_start_from_the_process_that_their_host_has(first: TrainerApart, tmp_path: Path):
    assert first._own
    second = apart(tmp_path, "b", first._own.path)
    assert second._own is None
    for trainer in (first, second):
        assert "before the setup" in asked(trainer)
    second.stop()
    assert not trainers("b")
    assert len(trainers("a")) == 1


def test_a_killed_trainer_is_told_with_its_exit_code_and_started_again(first: TrainerApart):
    assert "before the setup" in asked(first)
    (process,) = trainers("a")
    os.kill(process.pid, signal.SIGKILL)
    with pytest.raises(TrainingError, match=r"exit code -9\); it is started again"):
        asked(first)
    assert "before the setup" in asked(first)
    (again,) = trainers("a")
    assert again.pid != process.pid


def test_a_trainer_that_stands_still_is_ended(first: TrainerApart, tmp_path: Path):
    assert first._own
    still = apart(tmp_path, "still", first._own.path)
    assert "before the setup" in asked(still)
    (process,) = trainers("still")
    os.kill(process.pid, signal.SIGSTOP)
    still.stop()
    assert not trainers("still")


def test_only_the_owner_can_ask_for_trainers(first: TrainerApart):
    assert first._own
    assert Path(first._own.path).parent.stat().st_mode & 0o777 == 0o700
