"""What is read off changes that were sent, and off truncation curves; damaged ones are refused."""

import pytest

from polyrank.errors import RunFolderError
from polyrank.record.lines import CutLoss, RoundLine, UpdateLine
from polyrank.record.sent import in_words, last_sent, least_share, mean_sent
from polyrank.record.summary import Summary
from polyrank.record.truncation import in_words as curve_in_words
from polyrank.record.truncation import rank_that_suffices
from tests.written import about_client, whole_client, whole_round, whole_summary


def update(client="a", round=1, **given):
    return about_client({"event": "update", "client": client, "round": round, **given})


def curve(*losses):
    return [CutLoss(slots=slots, loss=loss) for slots, loss in losses]


def test_a_rank_in_words_is_the_mean_with_the_least_share():
    one = update(round=7, ranks={"m": 3}, shares={"m": 0.829})
    assert in_words(one) == "rank 3 holds 82 % of its change in round 7"
    two = update(round=7, ranks={"m": 3, "n": 4}, shares={"m": 0.9, "n": 0.8})
    said = "rank 3.5, the mean of 2 modules, holds at least 80 % of its change in round 7"
    assert in_words(two) == said
    assert (mean_sent(two), least_share(two)) == (3.5, 0.8)
    nothing = update(round=7, ranks={"m": 0}, shares={"m": 1.0})
    assert in_words(nothing) == "it had changed nothing that is worth sending in round 7"


def test_the_last_update_of_each_client_counts_and_factors_are_none():
    first, last = (update(round=n, ranks={"m": n}, shares={"m": 0.9}) for n in (1, 4))
    other = update("b", 2, ranks={"m": 5}, shares={"m": 1.0})
    assert last_sent([first, other, last]) == {"a": last, "b": other}
    assert last_sent([update(round=1)]) == {}


@pytest.mark.parametrize(
    ("losses", "rank"),
    [
        ([(0, 2.0), (2, 1.2), (4, 1.009), (8, 1.0)], 4),
        ([(0, 2.0), (2, 1.2), (4, 1.011), (8, 1.0)], 8),
        ([(0, 2.0), (2, None), (8, 1.0)], 8),
        ([(0, 1.0), (8, 1.0)], None),  # nothing is gained
        ([(0, None), (4, 1.0), (8, 1.0)], None),
        ([(0, 2.0), (4, 1.0), (8, None)], None),
        ([(4, 1.0), (8, 1.0)], None),
        ([(0, 1.0)], None),
        ([], None),
    ],
)
def test_a_rank_suffices_that_keeps_99_percent_of_the_gain(losses, rank):
    assert rank_that_suffices(curve(*losses)) == rank


def test_a_curve_in_words_names_the_rank_and_all_slots():
    said = curve_in_words(curve((0, 2.0), (4, 1.0), (8, 1.0)))
    assert said == "A rank of 4 keeps 99 % of what all 8 slots gain on these rows."
    assert curve_in_words(curve((0, 1.0), (8, 1.5))) == "The 8 slots gain nothing on these rows."


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"ranks": {"m": 2}, "shares": {"m": 1.01}}, "shares.m: expected a value less than"),
        ({"ranks": {"m": 2}, "shares": {"m": None}}, "shares.m"),
        ({"ranks": {"m": 2}, "shares": {"m": -0.1}}, "shares.m: expected a value greater than"),
        (
            {"ranks": {"m": 2}, "shares": {"n": 0.5}},
            "line 1: expected shares of the modules that have",
        ),
        ({"ranks": {"m": 2}}, "line 1: expected shares of the modules that have ranks"),
        ({"shares": {"m": 0.5}}, "line 1: expected shares of the modules that have ranks"),
        ({"ranks": {"m": -2}, "shares": {"m": 0.5}}, "ranks.m: expected a value greater than"),
    ],
)
def test_a_damaged_update_is_named(given, said):
    line = whole_client({"event": "update", "client": "a", "round": 1, **given})
    with pytest.raises(RunFolderError, match=said):
        UpdateLine.read(line, "clients.jsonl, line 1")


@pytest.mark.parametrize(
    ("cuts", "said"),
    [
        ([{"slots": 2, "loss": 1.0}, {"slots": 2, "loss": 1.0}], "numbers of slots that rise"),
        ([{"slots": 2, "loss": 1.0}, {"slots": 0, "loss": 2.0}], "numbers of slots that rise"),
        ([{"slots": -1, "loss": 1.0}], "slots: expected a value greater than"),
        ([{"slots": 1, "loss": "x"}], "loss: expected a number or null"),
        ({"0": 1.0}, "expected a list"),
    ],
)
def test_a_damaged_curve_is_named(cuts, said):
    with pytest.raises(RunFolderError, match=said):
        RoundLine.read(whole_round({"round": 1, "cuts": cuts}), "rounds.jsonl, line 1")
    found = {"curve": cuts, "rows": 5, "held_by": "server"}
    with pytest.raises(RunFolderError, match=said):
        Summary.read(whole_summary({"truncation": found}), "summary.json")


@pytest.mark.parametrize(("key", "value"), [("rows", -1), ("rows", "5"), ("held_by", "nobody")])
def test_a_damaged_end_of_a_curve_is_named(key, value):
    found = {"curve": [], "rows": 5, "held_by": "server", key: value}
    with pytest.raises(RunFolderError, match=f"truncation.{key}: expected"):
        Summary.read(whole_summary({"truncation": found}), "summary.json")
