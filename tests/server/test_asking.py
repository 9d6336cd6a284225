"""Answers come in any order; they are taken in one."""

import random

import pytest

from polyrank.errors import TrainingError
from polyrank.protocol.engine import UNLIMITED
from polyrank.protocol.messages import Failure, ProfileTask, TaskId
from polyrank.server.asking import asked


def tasks(count):
    return [ProfileTask(TaskId("r", 0, str(k))) for k in range(count)]


@pytest.mark.parametrize("seed", range(5))
def test_answers_are_taken_in_the_order_of_the_tasks_as_soon_as_it_is_their_turn(seed):
    taken = []

    def run(given, patience):
        assert patience is UNLIMITED
        held = list(given)
        random.Random(seed).shuffle(held)
        came = set()
        for task in held:
            came.add(int(task.id.client))
            yield task, Failure(task.id, f"of {task.id.client}")
            turn = next(k for k in range(21) if k not in came)
            assert len(taken) == turn

    for task, answer in asked(run, tasks(20)):
        taken.append(task.id.client)
        assert answer.reason == f"of {task.id.client}"
    assert taken == [str(k) for k in range(20)]


def test_alike_tasks_are_told_apart_by_which_they_are():
    same = [ProfileTask(TaskId("r", 0, "c")) for _ in range(3)]

    def backwards(given, patience):
        for number, task in enumerate(reversed(list(given))):
            yield task, Failure(task.id, str(number))

    assert [answer.reason for _, answer in asked(backwards, same)] == ["2", "1", "0"]


def test_an_engine_that_leaves_a_task_out_or_makes_one_up_is_an_error():
    def one_less(given, patience):
        for task in list(given)[1:]:
            yield task, Failure(task.id, "")

    def made_up(given, patience):
        for task in given:
            yield ProfileTask(task.id), Failure(task.id, "")

    with pytest.raises(TrainingError, match="left 1 tasks without an answer"):
        list(asked(one_less, tasks(3)))
    with pytest.raises(TrainingError, match="answered a task that it was not given"):
        list(asked(made_up, tasks(3)))
