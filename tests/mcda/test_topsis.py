import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from pymcdm.methods import TOPSIS
from pymcdm.normalizations import minmax_normalization, vector_normalization
from skcriteria.agg.topsis import topsis as skcriteria_topsis

from polyrank.errors import DataError, SettingsError, ShapeError
from polyrank.mcda import balance, topsis

# Four fighter aircraft by speed, range, payload, cost, reliability, manoeuvrability: the
# numerical example of Hwang, Yoon, "Multiple Attribute Decision Making", Springer 1981,
# chapter on TOPSIS. Published closeness: 0.643, 0.268, 0.613, 0.312, from distances rounded to
# four decimals (A3: 0.0920 / (0.0580 + 0.0920) = 0.6133), which moves the third decimal by up
# to (0.5 + 0.5) * 5e-5 / 0.15 = 3.3e-4 before its own rounding (5e-4).
AIRCRAFT = [
    [2.0, 1500, 20000, 5.5, 5, 9],
    [2.5, 2700, 18000, 6.5, 3, 5],
    [1.8, 2000, 21000, 4.5, 7, 7],
    [2.2, 1800, 20000, 5.0, 5, 5],
]
AIRCRAFT_WEIGHTS = [0.2, 0.1, 0.1, 0.1, 0.2, 0.3]
AIRCRAFT_BENEFIT = [True, True, True, False, True, True]

NORMALISATIONS = ["vector", "minmax", "none"]


@st.composite
def problems(draw, largest=1e308):
    shape = draw(st.tuples(st.integers(1, 6), st.integers(1, 4)))
    few = st.sampled_from([0.0, 1.0, 2.0])
    matrix = draw(arrays(np.float64, shape, elements=few | st.floats(-largest, largest)))
    weights = draw(arrays(np.float64, shape[1], elements=st.floats(0.01, 1)))
    benefit = draw(arrays(np.bool_, shape[1]))
    return (
        matrix,
        weights,
        {
            "benefit": benefit,
            "normalisation": draw(st.sampled_from(NORMALISATIONS)),
        },
    )


def test_hwang_yoon_1981():
    scores = topsis(AIRCRAFT, AIRCRAFT_WEIGHTS, benefit=AIRCRAFT_BENEFIT)
    np.testing.assert_allclose(scores, [0.643, 0.268, 0.613, 0.312], atol=8.3e-4)


def test_by_hand():
    """Columns (3, 4, 0) and (0, 4, 3), both of norm 5, equal weights.

    Scaled: (0.6, 0), (0.8, 0.8), (0, 0.6); best (0.8, 0.8), worst (0, 0).
    Client 0: d+ = sqrt(0.2^2 + 0.8^2) = sqrt(0.68), d- = 0.6; client 2 the mirror image.
    """
    side = 0.6 / (0.6 + np.sqrt(0.68))
    np.testing.assert_allclose(topsis([[3, 0], [4, 4], [0, 3]], [1, 1]), [side, 1, side])


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize(
    ("normalisation", "theirs"),
    [("vector", vector_normalization), ("minmax", minmax_normalization), ("none", None)],
)
def test_agrees_with_pymcdm(seed, normalisation, theirs):
    rng = np.random.default_rng(seed)
    matrix, weights = rng.random((15, 4)), rng.dirichlet(np.ones(4))
    # pymcdm's normalisations turn cost columns round themselves; minmax does so as we do.
    types = np.array([1, -1, 1, -1]) if normalisation == "minmax" else np.ones(4)
    expected = TOPSIS(theirs or (lambda column, cost: column))(matrix, weights, types)
    got = topsis(matrix, weights, benefit=types > 0, normalisation=normalisation)
    np.testing.assert_allclose(got, expected, rtol=1e-10)


@pytest.mark.parametrize("seed", range(5))
def test_agrees_with_scikit_criteria(seed):
    rng = np.random.default_rng(seed)
    matrix, weights = rng.random((15, 4)), rng.dirichlet(np.ones(4))
    normed = matrix / np.linalg.norm(matrix, axis=0)
    objectives = np.array([1, -1, 1, -1])
    *_, expected = skcriteria_topsis(normed, objectives, weights)
    got = topsis(matrix, weights, benefit=objectives > 0)
    np.testing.assert_allclose(got, expected, rtol=1e-10)


@settings(deadline=None, max_examples=60)
@given(problems())
def test_scores_are_finite_and_in_range(problem):
    matrix, weights, options = problem
    scores = topsis(matrix, weights, **options)
    assert ((scores >= 0) & (scores <= 1)).all()


@settings(deadline=None, max_examples=60)
@given(problems())
def test_dominated_client_never_scores_higher(problem):
    matrix, weights, options = problem
    scores = topsis(matrix, weights, **options)
    directed = np.where(options["benefit"], matrix, -matrix)
    for i in range(len(matrix)):
        dominated = (directed <= directed[i]).all(axis=1)
        assert (scores[dominated] <= scores[i]).all()


@settings(deadline=None, max_examples=60)
@given(problems(largest=1e3), st.randoms(use_true_random=False))
def test_permuting_clients_permutes_scores(problem, random):
    matrix, weights, options = problem
    order = list(range(len(matrix)))
    random.shuffle(order)
    scores = topsis(matrix, weights, **options)
    np.testing.assert_allclose(topsis(matrix[order], weights, **options), scores[order])


@settings(deadline=None, max_examples=60)
@given(problems(), st.integers(0, 5))
def test_identical_clients_score_the_same(problem, which):
    matrix, weights, options = problem
    twin = which % len(matrix)
    scores = topsis(np.vstack([matrix, matrix[twin]]), weights, **options)
    assert scores[twin] == scores[-1]


@pytest.mark.parametrize("normalisation", NORMALISATIONS)
@pytest.mark.parametrize("matrix", [[[3.0, 0.0]], [[3.0, 0.0]] * 4, [[0.0, 0.0]] * 2])
def test_all_alike_score_one_half(matrix, normalisation):
    scores = topsis(matrix, [0.5, 0.5], normalisation=normalisation)
    assert scores.tolist() == [0.5] * len(matrix)


def test_no_normalisation_keeps_units():
    """Differences 1 and 1000 with equal weights: the second column decides almost alone."""
    scores = topsis([[1.0, 0.0], [0.0, 1000.0]], [1, 1], normalisation="none")
    np.testing.assert_allclose(scores, [1 / 1001, 1000 / 1001])


@settings(deadline=None, max_examples=60)
@given(problems())
def test_balances_add_up_to_the_side_of_the_score(problem):
    matrix, weights, options = problem
    scores = topsis(matrix, weights, **options)
    parts = balance(matrix, weights, **options)
    # C = d- / (d+ + d-), so (d-^2 - d+^2) / (d-^2 + d+^2) = (C^2 - (1-C)^2) / (C^2 + (1-C)^2).
    expected = (scores**2 - (1 - scores) ** 2) / (scores**2 + (1 - scores) ** 2)
    np.testing.assert_allclose(parts.sum(axis=1), expected, atol=1e-9)


def test_balance_by_hand():
    """The example of test_by_hand: client 0 adds 0.6^2 to d-^2 and 0.2^2 + 0.8^2 to d+^2.

    By criterion: (0.36 - 0.04) / 1.04 and (0 - 0.64) / 1.04.
    """
    parts = balance([[3, 0], [4, 4], [0, 3]], [1, 1])
    np.testing.assert_allclose(parts[0], [0.32 / 1.04, -0.64 / 1.04])


@pytest.mark.parametrize(
    ("weights", "error", "said"),
    [
        ([1.0], ShapeError, "expected 2 criterion weights"),
        ([1.0, -1.0], DataError, "1.0, -1.0"),
        ([1.0, np.nan], DataError, "nan"),
        ([0.0, 0.0], DataError, "not all 0"),
    ],
)
def test_impossible_weights(weights, error, said):
    with pytest.raises(error, match=said):
        topsis([[1.0, 2.0], [2.0, 1.0]], weights)


def test_bad_value_is_named_by_row_and_column():
    with pytest.raises(DataError, match="got inf in row 0, column 1"):
        topsis([[1.0, np.inf], [2.0, 1.0]], [1, 1])


def test_wrong_benefit():
    with pytest.raises(ShapeError, match="2 booleans"):
        topsis([[1.0, 2.0]], [1, 1], benefit=[1, 0])


def test_unknown_normalisation():
    with pytest.raises(SettingsError, match="one of vector, minmax, none, got 'max'"):
        topsis([[1.0], [2.0]], [1], normalisation="max")
