import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from polyrank.datasets.stratified import draw
from polyrank.errors import DataError, SettingsError


@settings(deadline=None, max_examples=60)
@given(
    sizes=st.lists(st.integers(2, 40), min_size=1, max_size=12),
    share=st.floats(0.01, 0.9),
    seed=st.integers(0, 2**32),
)
def test_each_label_keeps_its_share_within_a_row(sizes, share, seed):
    labels = np.random.default_rng(seed).permutation(np.repeat(np.arange(len(sizes)), sizes))
    drawn = draw(labels, share, np.random.default_rng(seed), part="test")
    counts = np.bincount(labels[drawn], minlength=len(sizes))
    assert (np.diff(drawn) > 0).all()
    assert (np.abs(counts - share * np.array(sizes)) <= 1).all()
    assert (counts < sizes).all()
    assert 1 <= len(drawn) <= max(1, round(share * len(labels)))


def test_the_whole_keeps_its_share_when_labels_can_spare_it():
    """77 labels of 13 rows: a tenth is 100.1 rows; rounding each label alone would give 77."""
    labels = np.repeat(np.arange(77), 13)
    assert len(draw(labels, 0.1, np.random.default_rng(0), part="validation")) == 100


def test_the_last_row_of_a_label_stays():
    """Nine tenths of five rows are 4.5, and only label 0 has a row to spare."""
    labels = np.array([0, 0, 1, 2, 3])
    drawn = [draw(labels, 0.9, np.random.default_rng(seed), part="test") for seed in range(20)]
    assert all(labels[rows].tolist() == [0] for rows in drawn)


def test_a_row_of_each_group_stays_while_there_are_others():
    """Each of 5 groups has two rows of label 0; half of the rows is one row of each group."""
    groups = np.repeat(np.array(list("abcde")), 2)
    for seed in range(20):
        rng = np.random.default_rng(seed)
        drawn = draw(np.zeros(10, dtype=np.int64), 0.5, rng, part="test", groups=groups)
        assert sorted(groups[drawn]) == list("abcde")


def test_no_share_draws_nothing():
    assert len(draw(np.array([0, 0]), 0.0, np.random.default_rng(0), part="public")) == 0


@pytest.mark.parametrize("share", [-0.1, 1.0, float("nan")])
def test_an_impossible_share_is_named(share):
    with pytest.raises(SettingsError, match=f"public = {share}"):
        draw(np.array([0, 0]), share, np.random.default_rng(0), part="public")


def test_nothing_to_spare_is_an_error():
    with pytest.raises(DataError, match=r"validation = 0.5: 3 rows with 3 labels"):
        draw(np.array([0, 1, 2]), 0.5, np.random.default_rng(0), part="validation")


def test_what_rare_labels_cannot_spare_comes_from_the_others():
    """Half of 10 + 9 x 1 rows is 9.5; only the first label can spare rows: 5, and one to round."""
    labels = np.concatenate([np.zeros(10, dtype=np.int64), np.arange(1, 10)])
    drawn = draw(labels, 0.5, np.random.default_rng(0), part="test")
    assert np.bincount(labels[drawn]).tolist() == [6]


def test_what_rounding_leaves_goes_to_the_largest_remainders():
    """0.3 of 5 and of 9 rows are 1.5 and 2.7, of all 4.2: one and two, and one more of label 1."""
    labels = np.array([0] * 5 + [1] * 9)
    for seed in range(5):
        drawn = draw(labels, 0.3, np.random.default_rng(seed), part="validation")
        assert np.bincount(labels[drawn]).tolist() == [1, 3]
