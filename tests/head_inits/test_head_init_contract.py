"""Heads from sums, against distances computed one by one in NumPy."""

import math

import numpy as np
import pytest
import torch

from polyrank.head_inits import HEAD_INITS
from polyrank.head_inits.head_init import without_bias
from tests.head_inits.head_problems import CLASSES, D, problem, solved, sums_of

METHODS = pytest.mark.parametrize("name", [n for n in HEAD_INITS if n not in ("auto", "none")])


def metric(name: str, features: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """The inverse of the covariance that the distance of the method is measured in."""
    if name == "class_means":
        return np.eye(D)
    means = np.stack([features[labels == c].mean(0) for c in range(CLASSES)])
    rest = features - means[labels]
    covariance = rest.T @ rest / len(rest)
    variance = np.trace(covariance) / D
    squares, n = np.trace(covariance @ covariance), len(features)
    above = (1 - 2 / D) * squares + np.trace(covariance) ** 2
    below = (n + 1 - 2 / D) * (squares - np.trace(covariance) ** 2 / D)
    share = min(1, above / below)
    assert 0.01 < share < 0.9
    return np.linalg.inv((1 - share) * covariance + share * variance * np.eye(D))


@METHODS
def test_logits_fall_with_the_distance_to_the_mean_of_the_label(name):
    features, labels = problem()
    weight, bias = solved(name, sums_of(features, labels))
    means = np.stack([features[labels == c].mean(0) for c in range(CLASSES)])
    away = features[:, None] - means
    distances = np.einsum("ncd,de,nce->nc", away, metric(name, features, labels), away)
    logits = features @ weight.T + bias
    gaps = logits - logits[:, :1]
    expected = -(distances - distances[:, :1]) / 2
    scale = gaps.std() / expected.std()
    np.testing.assert_allclose(gaps, scale * expected, rtol=1e-8, atol=1e-8)


@METHODS
def test_at_the_means_the_own_logit_is_log_classes_above_one_in_the_middle(name):
    features, labels = problem()
    sums = sums_of(features, labels)
    weight, bias = solved(name, sums)
    means = (sums.sums / sums.counts[:, None]).numpy()
    own = np.diag(means @ weight.T + bias)  # a label in the middle has logit 0 everywhere
    shares = sums.counts.numpy() / len(labels)
    assert own @ shares == pytest.approx(math.log(CLASSES))


@METHODS
def test_a_label_without_rows_is_never_the_answer_and_changes_no_other(name):
    """Neither near the data nor far off, where a fixed logit would win some of the time."""
    features, labels = problem()
    sums = sums_of(features, labels, CLASSES + 2)
    weight, bias = solved(name, sums)
    means = np.stack([features[labels == c].mean(0) for c in range(CLASSES)])
    rng = np.random.default_rng(1)
    far = 1000 * rng.normal(size=(500, D))
    for x in (features, means, far, 10 + far / 100):
        assert (x @ weight.T + bias).argmax(1).max() < CLASSES
    at_means = means @ weight.T + bias
    assert (at_means[:, CLASSES:] < at_means[:, :CLASSES].min(1, keepdims=True)).all()
    without, _ = solved(name, sums_of(features, labels))
    ratio = math.log(CLASSES + 2) / math.log(CLASSES)
    np.testing.assert_allclose(weight[:CLASSES], ratio * without)


@METHODS
def test_of_labels_with_the_same_mean_those_that_have_rows_are_answered(name):
    weight, bias = solved(name, sums_of(np.ones((8, D)), np.arange(8) % 2 + 1))
    assert not weight.any()
    assert bias[0] < bias[1] == bias[2] > bias[3]


@METHODS
def test_features_that_say_nothing_of_the_label_give_zeros(name):
    features = np.ones((8, D))
    weight, bias = solved(name, sums_of(features, np.arange(8) % CLASSES))
    assert not weight.any()
    assert not bias.any()


@METHODS
def test_the_head_is_the_same_however_the_rows_are_spread(name):
    features, labels = problem()
    order = np.argsort(labels)  # each client with its own labels
    parts = [sums_of(features[p], labels[p]) for p in np.array_split(order, 4)]
    weight, bias = solved(name, sums_of(features, labels))
    spread = solved(name, parts[0] + parts[1] + parts[2] + parts[3])
    np.testing.assert_allclose(spread[0], weight, rtol=1e-9)
    np.testing.assert_allclose(spread[1], bias, rtol=1e-9)


@METHODS
def test_without_a_bias_the_answers_are_the_same_where_the_mean_is_strong(name):
    features, labels = problem()
    sums = sums_of(features, labels)
    weight, bias = HEAD_INITS.build(name).solve(sums)
    alone = without_bias(weight, bias, sums.mean)
    torch.testing.assert_close(alone @ sums.mean, weight @ sums.mean + bias)
    x = torch.from_numpy(features)
    same = (x @ alone.T).argmax(1) == (x @ weight.T + bias).argmax(1)
    assert same.double().mean() > 0.8
    assert ((x @ weight.T).argmax(1) == (x @ weight.T + bias).argmax(1)).double().mean() < 0.7
