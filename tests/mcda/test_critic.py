import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from pymcdm.weights import critic_weights
from skcriteria.preprocessing.weighters import critic_weights as skcriteria_critic

from polyrank.errors import DataError, ShapeError
from polyrank.mcda import critic

# Eight pharmaceutical firms by profitability, market share, productivity: Diakoulaki,
# Mavrotas, Papayannakis 1995, as replayed by scikit-criteria's test_weighters.py, from
# which the weights below come too.
FIRMS = [
    [61, 1.08, 4.33],
    [20.7, 0.26, 4.34],
    [16.3, 1.98, 2.53],
    [9, 3.29, 1.65],
    [5.4, 2.77, 2.33],
    [4, 4.12, 1.21],
    [-6.1, 3.52, 2.10],
    [-34.6, 3.31, 0.98],
]

any_matrix = arrays(
    np.float64,
    st.tuples(st.integers(1, 6), st.integers(1, 4)),
    elements=st.floats(-1e308, 1e308),
)


def test_diakoulaki_1995():
    np.testing.assert_allclose(critic(FIRMS), [0.20222554, 0.48090173, 0.31687273], atol=1e-8)


def test_by_hand():
    """Columns (0, 1, 0.5) and (1, 0, 1), already on [0, 1].

    Centred: (-1/2, 1/2, 0), sum of squares 1/2; (1/3, -2/3, 1/3), sum of squares 2/3.
    Conflict 1 - rho is the same for both, so w_1 / w_2 = sqrt(1/2) / sqrt(2/3) = sqrt(3) / 2.
    """
    first, second = critic([[0, 1], [1, 0], [0.5, 1]])
    assert first / second == pytest.approx(np.sqrt(3) / 2)


@pytest.mark.parametrize("seed", range(5))
def test_agrees_with_pymcdm(seed):
    matrix = np.random.default_rng(seed).random((20, 5))
    np.testing.assert_allclose(critic(matrix), critic_weights(matrix), rtol=1e-10)


@pytest.mark.parametrize("seed", range(5))
def test_agrees_with_scikit_criteria_on_cost_criteria(seed):
    matrix = np.random.default_rng(seed).random((20, 3))
    expected = skcriteria_critic(matrix, objectives=[1, -1, 1])
    got = critic(matrix, benefit=[True, False, True])
    np.testing.assert_allclose(got, expected, rtol=1e-10)


def test_constant_column_has_no_weight_and_no_say():
    varied = np.random.default_rng(0).random((9, 3))
    with_constant = np.insert(varied, 1, 0.1 + 0.2, axis=1)
    weights = critic(with_constant)
    assert weights[1] == 0
    np.testing.assert_allclose(np.delete(weights, 1), critic(varied))


def test_rounding_noise_counts_as_constant():
    noisy = [[0.3, 1.0], [0.1 + 0.2, 2.0], [0.3, 4.0]]
    assert critic(noisy).tolist() == [0.0, 1.0]


@pytest.mark.parametrize("matrix", [[[3.0, 4.0]], [[1.0, 2.0]] * 5])
def test_nothing_varies_equal_weights(matrix):
    assert critic(matrix).tolist() == [0.5, 0.5]


def test_criteria_that_agree_perfectly_share_the_weight():
    column = np.random.default_rng(2).random((5, 1))  # 1 - rho is 2e-16 for one pair, not 0
    matrix = np.hstack([column, column * 0.3 + 7, column * 1e5, np.ones_like(column)])
    assert critic(matrix).tolist() == [1 / 3, 1 / 3, 1 / 3, 0.0]


@settings(deadline=None, max_examples=60)
@given(any_matrix)
def test_weights_are_a_distribution_whatever_the_magnitude(matrix):
    weights = critic(matrix)
    assert np.isfinite(weights).all()
    assert (weights >= 0).all()
    assert weights.sum() == pytest.approx(1)


def test_scale_of_a_column_does_not_matter():
    matrix = np.random.default_rng(1).random((10, 3))
    np.testing.assert_allclose(critic(matrix * [1e300, 1e-300, 1]), critic(matrix))


def test_bad_value_is_named_by_row_and_column():
    with pytest.raises(DataError, match="got nan in row 1, column 0"):
        critic([[1.0, 2.0], [np.nan, 3.0]])


@pytest.mark.parametrize("matrix", [[1.0, 2.0], np.empty((0, 2)), np.empty((2, 0))])
def test_wrong_shape(matrix):
    with pytest.raises(ShapeError, match="clients by criteria"):
        critic(matrix)


def test_wrong_benefit():
    with pytest.raises(ShapeError, match="2 booleans"):
        critic([[1.0, 2.0], [2.0, 1.0]], benefit=[True])


def test_a_stretch_of_one_is_the_paper_s_and_of_nought_is_as_if_the_column_were_not_there():
    matrix = np.random.default_rng(4).random((6, 4))
    np.testing.assert_allclose(critic(matrix, stretch=np.ones(4)), critic(matrix), rtol=1e-12)
    for least in (0.0, 1e-9):
        weights = critic(matrix, stretch=[1, least, 1, 1])
        assert weights[1] == pytest.approx(0, abs=1e-8)
        without = critic(np.delete(matrix, 1, axis=1))
        np.testing.assert_allclose(np.delete(weights, 1), without, rtol=1e-7)


def test_stretch_by_hand():
    """Two columns in conflict, of one sigma and 1 - rho = 2: 1 * 0.25 * 2 to 0.25 * 0.25 * 2."""
    np.testing.assert_allclose(critic([[0, 1], [1, 0]], stretch=[1, 0.25]), [0.8, 0.2])


def test_columns_that_agree_share_by_their_stretch():
    np.testing.assert_allclose(critic([[0, 0], [1, 1], [2, 2]], stretch=[1, 0.5]), [0.8, 0.2])


def test_impossible_stretches():
    with pytest.raises(ShapeError, match="expected 2 stretches"):
        critic([[1.0, 2.0], [2.0, 1.0]], stretch=[1.0])
    for bad in (-0.1, 1.1, np.nan):
        with pytest.raises(DataError, match="stretches from 0 to 1"):
            critic([[1.0, 2.0], [2.0, 1.0]], stretch=[1.0, bad])
