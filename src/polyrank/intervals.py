"""How sure a mean over a few seeds is: Student's interval. Torch-free.

"Student", "The probable error of a mean", Biometrika 6, 1908. A difference between two methods is
taken seed by seed first: on small data seeds differ by more than methods do.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean, stdev

LEVEL = 0.9  # how often such an interval holds the true mean, if values are normal


@dataclass(frozen=True)
class Interval:
    """A mean, and between what the true one lies; one value alone says nothing of that.

    Args:
        mean: of the values.
        low: lower end, None of one value.
        high: upper end, None of one value.
        count: how many values there are.
    """

    mean: float
    low: float | None
    high: float | None
    count: int

    @property
    def beside_zero(self) -> bool:
        """Whether zero lies outside, so that the sign of the mean is more than chance."""
        return self.low is not None and self.high is not None and not self.low <= 0 <= self.high


def interval(values: Sequence[float], level: float = LEVEL) -> Interval | None:
    """Return the mean of some values with its interval, by Student's t; None of no value.

    Args:
        values: finite, one a seed.
        level: of the interval, between 0 and 1.
    """
    if not values:
        return None
    mean, count = fmean(values), len(values)
    if count == 1:
        return Interval(mean, None, None, 1)
    from scipy.special import stdtrit

    half = float(stdtrit(count - 1, (1 + level) / 2)) * stdev(values) / math.sqrt(count)
    return Interval(mean, mean - half, mean + half, count)
