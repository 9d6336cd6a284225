import numpy as np

from polyrank.partitioners.iid import iid
from polyrank.partitioners.rows import Rows


def test_sizes_differ_by_at_most_one():
    parts = iid(Rows(np.zeros(17, dtype=np.int64)), 5, np.random.default_rng(0))
    assert sorted(len(part) for part in parts) == [3, 3, 3, 4, 4]


def test_labels_are_spread_like_the_whole():
    """A client of 1,000 rows of a label with share 0.5: within 5 standard errors, 0.08."""
    labels = np.repeat([0, 1], 2000)
    parts = iid(Rows(labels), 4, np.random.default_rng(0))
    assert all(abs(labels[part].mean() - 0.5) < 0.08 for part in parts)
