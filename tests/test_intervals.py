"""Student's interval, against scipy's own and tables."""

import pytest
from scipy.stats import ttest_rel

from polyrank.intervals import interval

ONE, TWO = [0.91, 0.88, 0.93, 0.90], [0.89, 0.87, 0.93, 0.85]


@pytest.mark.parametrize("level", [0.9, 0.99])
def test_differences_have_the_interval_of_the_paired_t_test(level):
    found = interval([a - b for a, b in zip(ONE, TWO, strict=True)], level)
    wanted = ttest_rel(ONE, TWO).confidence_interval(level)
    assert (found.low, found.high) == pytest.approx((wanted.low, wanted.high))
    assert found.mean == pytest.approx(0.02)
    assert found.count == 4


def test_two_values_have_the_interval_of_the_table():
    """Student's t for 90 % and one degree of freedom is 6.314; the standard deviation sqrt(2)."""
    found = interval([4.0, 6.0])
    assert (found.low, found.high) == pytest.approx((5 - 6.314, 5 + 6.314), abs=1e-3)
    assert not found.beside_zero
    assert interval([4.0, 4.1]).beside_zero
    assert interval([-4.0, -4.1]).beside_zero


def test_one_value_has_no_interval_and_none_nothing():
    one = interval([3.0])
    assert (one.mean, one.low, one.high, one.count) == (3.0, None, None, 1)
    assert not one.beside_zero
    assert interval([]) is None
