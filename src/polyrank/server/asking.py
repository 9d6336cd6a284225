"""Collect the answers of clients in the order of the tasks, in whatever order they arrive."""

from collections.abc import Callable, Iterable, Iterator
from typing import TypeAlias, TypeVar

from polyrank.errors import TrainingError
from polyrank.protocol.engine import UNLIMITED, Patience
from polyrank.protocol.messages import Answer, ExamineTask, Task

T = TypeVar("T", bound=Task | ExamineTask)

Run: TypeAlias = Callable[[Iterable[T], Patience], Iterator[tuple[T, Answer]]]


def asked(
    run: Run[T], tasks: Iterable[T], patience: Patience = UNLIMITED
) -> Iterator[tuple[T, Answer]]:
    """Yield each task with its answer in the order of the tasks, so that sums have one order too.

    Args:
        run: of an engine.
        tasks: read as the engine needs them.
        patience: how long answers are waited for.

    Raises:
        TrainingError: the engine answered something else than each task once.
    """
    places: dict[int, int] = {}  # of the tasks that are out, by which object they are
    early: dict[int, tuple[T, Answer]] = {}
    turn = 0

    def numbered() -> Iterator[T]:
        for place, task in enumerate(tasks):
            places[id(task)] = place
            yield task

    for task, answer in run(numbered(), patience):
        place = places.pop(id(task), None)
        if place is None:
            raise TrainingError(f"the engine answered a task that it was not given: {task.id}")
        early[place] = task, answer
        while turn in early:
            yield early.pop(turn)
            turn += 1
    if places:
        raise TrainingError(
            f"the engine left {len(places)} tasks without an answer: expected one answer each"
        )
