from typing import ClassVar

import numpy as np

from polyrank.partitioners.double_imbalance import double_imbalance
from polyrank.partitioners.rows import Rows

ROWS = Rows(np.repeat(np.arange(8), [50, 100, 150, 200, 250, 300, 350, 400]))


def parts_of(seed, **options):
    return double_imbalance(ROWS, 12, np.random.default_rng(seed), **options)


def size_spread(parts):
    sizes = np.array([len(part) for part in parts])
    return sizes.std() / sizes.mean()


def distance_to_all(parts):
    """Mean total variation between the clients' label shares and those of all rows."""
    everyone = np.bincount(ROWS.labels) / len(ROWS)
    mixes = [np.bincount(ROWS.labels[part], minlength=8) / len(part) for part in parts]
    return np.mean([np.abs(mix - everyone).sum() / 2 for mix in mixes])


def mean_over_seeds(measure, **options):
    return np.mean([measure(parts_of(seed, **options)) for seed in range(8)])


def test_sizes_spread_more_as_size_concentration_falls():
    spreads = [mean_over_seeds(size_spread, size_concentration=c) for c in (100.0, 2.0, 0.2)]
    assert spreads[0] + 0.3 < spreads[1] < spreads[2] - 0.3
    assert spreads[0] < 0.15


def test_labels_are_further_from_the_whole_as_concentration_falls():
    distances = [mean_over_seeds(distance_to_all, concentration=c) for c in (100.0, 1.0, 0.1)]
    assert distances[0] + 0.15 < distances[1] < distances[2] - 0.15


def test_each_dial_leaves_the_other_skew_alone():
    """Sizes are drawn first: the same seed gives the same sizes under any concentration."""
    for seed in range(5):
        few, many = (parts_of(seed, concentration=c) for c in (0.1, 10.0))
        assert [len(part) for part in few] == [len(part) for part in many]


def test_the_smallest_client_has_min_examples():
    for seed in range(10):
        parts = parts_of(seed, size_concentration=0.05, min_examples=7)
        assert min(len(part) for part in parts) >= 7


def test_no_concentration_is_too_small_or_too_large():
    for concentration in (1e-300, 1e300):
        parts = parts_of(0, concentration=concentration, size_concentration=concentration)
        assert sum(len(part) for part in parts) == len(ROWS)


def test_label_mixes_are_drawn_around_the_shares_of_the_data():
    """Two of three rows have label 0: Dirichlet(0.6 * 2 * (2/3, 1/3))."""

    class Recorder(np.random.Generator):
        drawn: ClassVar[list] = []

        def dirichlet(self, alpha, size=None):
            self.drawn.append(np.asarray(alpha).tolist())
            return super().dirichlet(alpha, size)

    rng = Recorder(np.random.PCG64(0))
    double_imbalance(Rows(np.array([0] * 40 + [1] * 20)), 4, rng, concentration=0.6)
    sizes, mixes = rng.drawn
    assert sizes == [1.0] * 4
    np.testing.assert_allclose(mixes, [0.8, 0.4])
