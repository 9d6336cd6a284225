"""Which learning rate is taken."""

import pytest

from polyrank.comparing.tuning import Tuned, mean_of, rates_around


def tuned(*values, given=0.01):
    """Tries at a third, once and three times the rate, with these (accuracy, loss) or None."""
    metrics = [[v and {"accuracy": v[0], "loss": v[1]}] for v in values]
    return Tuned("a", given, dict(zip(rates_around(given), metrics, strict=True)))


def test_three_rates_around_the_given_one_are_tried():
    assert rates_around(0.01) == (0.0033, 0.01, 0.03)
    assert rates_around(0.00212) == (0.00071, 0.00212, 0.0064)


@pytest.mark.parametrize(
    ("values", "best", "edge"),
    [
        (((0.5, 1.0), (0.6, 2.0), (0.4, 0.1)), 0.01, False),
        (((0.5, 1.0), (0.5, 1.0), (0.5, 1.0)), 0.01, False),  # as given
        (((0.5, 0.9), (0.5, 1.0), (0.5, 1.1)), 0.0033, True),  # by loss
        (((0.5, 1.0), (0.6, 1.0), (0.7, None)), 0.03, True),
        (((0.5, 1.0), None, (None, None)), 0.0033, True),
    ],
)
def test_the_best_on_validation_rows_is_taken(values, best, edge):
    found = tuned(*values)
    assert (found.best, found.at_edge) == (best, edge)


def test_perplexity_is_better_where_it_is_lower():
    tries = {0.1: [{"perplexity": 9.0, "loss": 2.2}], 0.3: [{"perplexity": 7.0, "loss": 1.9}]}
    found = Tuned("a", 0.1, tries)
    assert (found.best, found.shown(0.3)) == (0.3, 7.0)


def test_a_rate_is_worth_the_mean_over_seeds_and_nothing_if_it_fails_with_one():
    good, bad = {"accuracy": 0.5, "loss": 1.0}, {"accuracy": 0.9, "loss": None}
    assert mean_of([good, {"accuracy": 0.7, "loss": 2.0}]) == {"accuracy": 0.6, "loss": 1.5}
    assert mean_of([good, bad]) == {"accuracy": 0.7, "loss": None}
    assert mean_of([good, None]) is None


def test_an_arm_whose_tries_all_failed_has_no_rate():
    found = tuned(None, None, None)
    assert (found.best, found.at_edge) == (None, False)


@pytest.mark.parametrize(
    ("low", "high", "luck"),
    [
        ([0.5], [0.9], True),  # one seed
        ([0.50, 0.60, 0.70], [0.60, 0.70, 0.81], False),  # apart on each by about as much
        ([0.50, 0.60, 0.70], [0.60, 0.52, 0.80], True),
        ([0.50, 0.60, 0.70], [0.50, 0.60, 0.70], True),
        ([0.50, None, 0.70], [0.60, 0.52, 0.80], False),  # there is no other
        ([None, None], [None, None], False),
    ],
)
def test_seeds_tell_the_best_rate_from_the_next_or_not(low, high, luck):
    of = {0.1: low, 0.3: high}
    tries = {r: [v and {"accuracy": v, "loss": 1.0} for v in vs] for r, vs in of.items()}
    assert Tuned("a", 0.1, tries).by_luck is luck


def test_a_rate_without_an_accuracy_is_not_the_next_best_by_luck():
    tries = {0.1: [{"accuracy": 0.5, "loss": 1.0}], 0.3: [{"accuracy": None, "loss": None}]}
    assert Tuned("a", 0.1, tries).by_luck is False
