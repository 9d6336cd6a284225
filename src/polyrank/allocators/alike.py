"""How far clients are apart: where they hardly differ, their ranks hardly differ. Ours.

Min-max, in CRITIC and from scores to ranks, makes the largest difference there is a full one:
of 1000 and 1001 examples it gives one client the least rank and the other the largest. So
differences are measured first, relative to the largest value, as counts and entropies are
measured from 0: below ``NOTHING`` a difference counts for nothing, from ``FULL`` on in full,
between them in proportion, so that no small change makes a large one.

``NOTHING`` is what chance makes: digits dealt to ten clients at random, a hundred rows each,
differ by up to 3 % in the entropy of their labels. ``FULL`` is a factor of two, by choice.
"""

import numpy as np

from polyrank.allocators.choice import Floats

NOTHING, FULL = 0.05, 0.5


def difference(matrix: Floats) -> Floats:
    """Return (max - min) / max |x| of each column (J,) of values (n, J), at most 1; 0 if all 0."""
    largest = np.abs(matrix).max(axis=0)
    scaled = matrix / np.where(largest > 0, largest, 1.0)
    apart: Floats = np.minimum(np.ptp(scaled, axis=0), 1.0)
    return apart


def counted(apart: Floats) -> Floats:
    """Return how much of differences counts, from 0 to 1: see the module's text."""
    share: Floats = np.clip((apart - NOTHING) / (FULL - NOTHING), 0.0, 1.0)
    return share
