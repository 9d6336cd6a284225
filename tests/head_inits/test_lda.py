"""Linear discriminant analysis."""

import numpy as np
import pytest
import torch

from polyrank.head_inits import HEAD_INITS
from polyrank.head_inits.head_init import FeatureSums
from polyrank.head_inits.lda import shrunk, within_labels

CLASSES, D, ROWS = 4, 6, 90


def problem(rows: int = ROWS, classes: int = CLASSES) -> tuple[np.ndarray, np.ndarray]:
    """Features with a large common mean and unequal spreads; label 0 is rare."""
    rng = np.random.default_rng(0)
    labels = rng.choice(classes, rows, p=[0.1, *[0.9 / (classes - 1)] * (classes - 1)])
    middles = rng.normal(size=(classes, D))
    noise = rng.normal(size=(rows, D)) * np.linspace(0.2, 3, D)
    return 10 + middles[labels] + noise @ rng.normal(size=(D, D)) / 3, labels


def sums_of(features: np.ndarray, labels: np.ndarray, classes: int = CLASSES) -> FeatureSums:
    one_hot = np.eye(classes)[labels]
    parts = one_hot.sum(0), one_hot.T @ features, features.T @ features
    return FeatureSums(*(torch.from_numpy(part) for part in parts))


def solved(name: str, sums: FeatureSums) -> tuple[np.ndarray, np.ndarray]:
    weight, bias = HEAD_INITS.build(name).solve(sums)
    return weight.numpy(), bias.numpy()


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
