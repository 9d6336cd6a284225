"""What a run came to, on made-up records."""

from polyrank.config import make_settings
from polyrank.summary import summarize


def metrics(accuracy):
    return {"accuracy": accuracy, "loss": 1 - accuracy, "macro_f1": 0, "balanced_accuracy": 0}


def line(number, validation, test):
    return {
        "round": number,
        "refused": [],
        "failed": [],
        "validation": metrics(validation),
        "test": metrics(test),
        "bytes": {"up": 0, "down": 0},
        "steps": 0,
        "probe_steps": 0,
    }


CLIENT = {"event": "profile", "client": "a", "ranks": {"fc": 2}, "score": None}


def test_the_best_round_is_chosen_on_validation_rows_and_told_by_test_rows():
    """Round 1 is best on validation rows, round 2 on test rows."""
    rounds = [line(0, 0.1, 0.2), line(1, 0.9, 0.5), line(2, 0.6, 0.8), line(3, 0.7, 0.6)]
    summary = summarize(make_settings({}), rounds, [CLIENT], {})
    assert summary["accuracy"] == {"final": 0.6, "best": 0.5, "best_round": 1}
