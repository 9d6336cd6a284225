"""What a run came to, on made-up records."""

import pytest

from polyrank.record.summary import summarize
from polyrank.settings.toml import make_settings
from tests.written import a_round, about_client, some_facts


def metrics(accuracy):
    return {"accuracy": accuracy, "loss": 1 - accuracy, "macro_f1": 0, "balanced_accuracy": 0}


def line(number, validation, test):
    return a_round(
        round=number,
        validation=metrics(validation),
        test=metrics(test),
        bytes={"up": 10**number, "down": 2 * 10**number},
        steps=5 + number,
        probe_steps=5 if number == 0 else 0,
    )


CLIENTS = [
    about_client(given)
    for given in (
        {"event": "profile", "client": "a", "ranks": {"fc": 2, "out": 4}, "score": None},
        {"event": "profile", "client": "b", "ranks": {"fc": 8, "out": 8}, "score": None},
        {"event": "ranks", "client": "b", "ranks": {"fc": 6, "out": 6}, "round": 2},
        {"event": "final", "client": "a", "global": metrics(0.4), "personal": metrics(0.9)},
        {"event": "final", "client": "b", "global": metrics(0.7), "personal": metrics(0.5)},
    )
]
ROUNDS = [line(0, 0.1, 0.2), line(1, 0.9, 0.5), line(2, 0.6, 0.8), line(3, 0.7, 0.6)]


def summed(**evaluation):
    return summarize(
        make_settings({"evaluation": evaluation}), ROUNDS, CLIENTS, some_facts()
    ).as_json()


def test_the_best_round_is_chosen_on_validation_rows_and_told_by_test_rows():
    """Round 1 is best on validation rows, round 2 on test rows."""
    assert summed()["accuracy"] == {"final": 0.6, "best": 0.5, "best_round": 1}


@pytest.mark.parametrize(
    ("target", "round"), [(0.2, 0), (0.5, 1), (0.51, 2), (0.8, 2), (0.9, None)]
)
def test_the_target_is_reached_on_test_rows(target, round):
    assert summed(target_accuracy=target)["rounds_to_target"] == round


def test_the_worst_client_is_that_of_the_least_accuracy_and_personal_models_have_a_mean():
    summary = summed()
    assert summary["worst_client"] == {"final": 0.4, "client": "a"}
    assert summary["personal"] == {"mean": pytest.approx(0.7)}


def test_all_rounds_are_counted_and_probes_are_told_apart():
    """Steps 5, 6, 7 and 8, of which the first 5 are the probes'."""
    summary = summed()
    assert summary["bytes"] == {"up": 1111, "down": 2222}
    assert summary["steps"] == {"probe": 5, "training": 21}


def test_the_mean_rank_is_over_clients_and_modules_as_they_are_at_the_end():
    """Means 3 and, after round 2, 6."""
    assert summed()["mean_rank"] == 4.5
