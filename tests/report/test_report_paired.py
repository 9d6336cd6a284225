"""Differences and targets of a comparison, by numbers that are reckoned by hand."""

from dataclasses import replace

import pytest

from polyrank.report.arms import Arm
from polyrank.report.paired import differences
from polyrank.report.target import Reached, reached, to_target, usual_target
from polyrank.report.yardstick import ACCURACY, PERPLEXITY
from tests.report.test_report_ahead import a_run
from tests.written import a_round

BYTES = {"up": 3, "down": 4}


def an_arm(name, *finals, **seeds):
    runs = [a_run(name, seed, value, **seeds) for seed, value in enumerate(finals)]
    return Arm(name, runs, runs)


def validated(*values, metric="accuracy"):
    """A run with these values on validation rows, from before training on; 7 bytes a round."""
    rounds = [
        a_round(
            round=at,
            validation=None if value is None else {metric: value, "loss": 1.0},
            test={metric: 0.5, "loss": 1.0},
            bytes=BYTES,
        )
        for at, value in enumerate(values)
    ]
    return replace(a_run("v", 0, 0.5), rounds=rounds)


def test_differences_are_taken_seed_by_seed_with_their_interval():
    """Own models of a: 0.5 and 0.5 against 0.9 and 0.9, b: alike, so the mean is 20 points less."""
    first = an_arm("first", 0.86, 0.85, 0.87, a=0.9)
    second = an_arm("second", 0.90, 0.91, 0.92)
    (sheet,) = differences([first, second], first, [ACCURACY])
    assert "Difference to first" in sheet.caption
    assert [column.title for column in sheet.columns[2:]] == [
        "Accuracy", "Worst client", "Clients' own models",
    ]  # fmt: skip
    (row,) = sheet.rows
    # 4, 6, 5: 5 -+ 2.92 / sqrt(3); the worst client has what all have
    assert row[:4] == ["second", 3, *["+5.0 points (+3.3 to +6.7)"] * 2]
    assert row[4] == "-20.0 points (-20.0 to -20.0)"


def test_a_seed_that_only_one_arm_has_is_no_pair_and_one_pair_has_no_interval():
    first, second = an_arm("first", 0.8), an_arm("second", 0.9, 0.1)
    (sheet,) = differences([first, second], first, [ACCURACY])
    assert sheet.rows[0][1:3] == [1, "+10.0 points (one seed)"]
    alone = an_arm("alone", None)
    assert differences([first, alone], first, [ACCURACY])[0].rows[0][2] == "\u2013"
    assert differences([first], first, [ACCURACY]) == []


def test_a_target_is_reached_in_the_first_round_after_training_that_has_it():
    run = validated(0.9, 0.5, None, 0.7, 0.6)
    assert reached(run, 0.7) == Reached(3, 28)
    assert reached(run, 0.45) == Reached(1, 14)
    assert reached(run, 0.8) is None
    talk = validated(9.0, 5.0, 4.0, metric="perplexity")
    assert reached(talk, 4.5) == Reached(2, 21)
    assert reached(talk, 3.0) is None


def test_the_usual_target_is_095_of_what_the_first_arm_ends_with_on_validation_rows():
    runs = [validated(0.1, 0.99, 0.6), validated(0.1, 0.8, None)]
    assert usual_target(Arm("a", runs, runs)) == pytest.approx(0.95 * 0.7)
    talk = [validated(9.0, 1.9, metric="perplexity")]
    assert usual_target(Arm("a", talk, talk)) == pytest.approx(2.0)
    assert usual_target(an_arm("no validation rows", 0.5)) is None


def test_rounds_and_bytes_to_a_target_are_means_over_the_runs_that_reach_it():
    runs = [validated(0.1, 0.7, 0.8), validated(0.1, 0.2, 0.3), validated(0.1, 0.2, 0.7)]
    (sheet,) = to_target([Arm("a", runs, runs)], 0.7, ACCURACY)
    assert sheet.rows == [["a", "2 of 3", "1.50", "17.5 B"]]
    (never,) = to_target([Arm("a", runs, runs)], 0.9, ACCURACY)
    assert never.rows == [["a", "0 of 3", "\u2013", "\u2013"]]
    assert to_target([Arm("a", runs, runs)], 0.7, PERPLEXITY) == []
