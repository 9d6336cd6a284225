"""How far clients' labels are from those of all, and when that is said."""

import pytest

from polyrank.head_inits.label_skew import distance_from_pool, skew_warning


@pytest.mark.parametrize(
    ("counts", "distance"),
    [
        ([[5, 5], [1, 1]], 0.0),
        ([[4, 0], [0, 4]], 0.5),  # each against (1/2, 1/2): (1/2 + 1/2) / 2
        ([[4, 0], [0, 12]], 0.5),  # against (1/4, 3/4): (3/4 + 1/4) / 2
        ([[2], [0, 2]], 0.5),  # a missing label is a count of zero
        ([[4, 0], [0, 4], [0, 0]], 0.5),  # who has no rows does not count
    ],
)
def test_distance_from_the_pool_by_hand(counts, distance):
    assert distance_from_pool(counts) == pytest.approx(distance)


def test_half_of_the_examples_is_skewed_and_less_is_not():
    said = skew_warning([[4, 0], [0, 4]], private=False)
    assert said is not None
    assert said.startswith("warning: labels are skewed (50 % of a client's examples")
    assert said.endswith('head_init = "lda" makes it from sums of features')
    assert skew_warning([[5, 1], [0, 6]], private=False) is None


def test_with_noise_on_the_counts_no_head_from_sums_is_recommended():
    said = skew_warning([[4, 0], [0, 4]], private=True)
    assert said is not None
    assert "probe.epsilon forbids" in said
    assert 'head_init = "lda"' not in said
