"""Linear discriminant analysis."""

import numpy as np
import pytest

from polyrank.head_inits.lda import shrunk, within_labels
from tests.head_inits.head_problems import CLASSES, ROWS, D, problem, solved, sums_of


def test_features_that_are_all_at_the_mean_of_their_label_are_told_apart():
    middles = np.random.default_rng(1).normal(size=(CLASSES, D))
    labels = np.arange(8) % CLASSES
    weight, bias = solved("lda", sums_of(middles[labels], labels))
    assert ((middles @ weight.T + bias).argmax(1) == np.arange(CLASSES)).all()


def test_fewer_rows_than_features_still_give_a_head():
    features, labels = problem(rows=5)
    weight, bias = solved("lda", sums_of(features, labels))
    assert np.isfinite(weight).all()
    assert np.isfinite(bias).all()


def test_the_covariance_is_the_mean_square_around_the_means_of_the_labels():
    """Divided by all rows: the answers do not hang on that, how much is shrunk does."""
    features, labels = problem()
    rest = features - np.stack([features[labels == c].mean(0) for c in range(CLASSES)])[labels]
    np.testing.assert_allclose(
        within_labels(sums_of(features, labels)), rest.T @ rest / ROWS, rtol=1e-8
    )


def test_the_covariance_is_shrunk_less_with_more_rows():
    covariance = within_labels(sums_of(*problem()))
    away = [float((shrunk(covariance, n) - covariance).norm()) for n in (10, 100, 1000)]
    assert away[0] > away[1] > away[2] > 0
    assert float(shrunk(covariance, 10).trace()) == pytest.approx(float(covariance.trace()))
