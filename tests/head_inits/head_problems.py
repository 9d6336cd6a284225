"""Features with labels, their sums, and heads solved from them."""

import numpy as np
import torch

from polyrank.head_inits import HEAD_INITS
from polyrank.head_inits.head_init import FeatureSums

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
