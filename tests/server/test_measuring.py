"""What clients tell of themselves, and what is done with what cannot be."""

import pytest

from polyrank.protocol.messages import Failure, Measured, Profile, TaskId
from polyrank.server.measuring import ask_profiles, by_size

GOOD = {"examples": 5, "test_examples": 0, "label_counts": [2, 3]}


class Telling:
    """Clients that tell what they are given to tell."""

    def __init__(self, **told):
        self.told = told

    def roster(self):
        return list(self.told)

    def run(self, tasks, patience):
        for task in tasks:
            told = self.told[task.id.client]
            yield task, told if isinstance(told, Failure) else Profile(task.id, **told)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"examples": 0}, "0 examples: expected a whole number from 1 up"),
        ({"examples": 5.0}, "5.0 examples"),
        ({"examples": True}, "True examples"),
        ({"examples": 10**400}, "examples: expected a whole number from 1 up"),
        ({"test_examples": -1}, "-1 test_examples"),
        ({"label_counts": [2, 3, 4]}, "expected 2 whole numbers"),
        ({"label_counts": [2, -3]}, "expected 2 whole numbers"),
        ({"label_counts": [2, float("nan")]}, "expected 2 whole numbers"),
        ({"label_counts": "23"}, "expected 2 whole numbers"),
    ],
)
def test_a_profile_that_cannot_be_counts_as_untold(changes, said):
    failures = []
    engine = Telling(a=GOOD, b={**GOOD, **changes})
    told = ask_profiles(engine, "r", 2, failures.append)
    assert told == {"a": Profile(TaskId("r", 0, "a"), **GOOD), "b": Profile(TaskId("r", 0, "b"))}
    (turn,) = failures
    assert turn.client == "b"
    assert said in turn.failed


def test_a_client_that_says_nothing_or_something_else_counts_as_untold():
    failures = []
    silent = Failure(TaskId("r", 0, "a"), "away")
    told = ask_profiles(Telling(a=silent), "r", 2, failures.append)
    assert told == {"a": Profile(TaskId("r", 0, "a"))}

    class Wrong(Telling):
        def run(self, tasks, patience):
            for task in tasks:
                yield task, Measured(task.id, {}, 0)

    assert ask_profiles(Wrong(a=None), "r", 2, failures.append) == told
    assert [turn.failed for turn in failures] == [
        "told nothing of itself: away",
        "told nothing of itself: sent Measured",
    ]


def test_clients_that_do_not_tell_their_size_come_last_by_name():
    sizes = {"d": None, "a": 3, "c": None, "b": 9}
    told = {client: Profile(TaskId("r", 0, client), size) for client, size in sizes.items()}
    assert by_size(told) == ["b", "a", "c", "d"]
