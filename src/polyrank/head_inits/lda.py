"""A head from linear discriminant analysis: the nearest mean where features are whitened.

Fisher's discriminant with one covariance for all labels, shrunk towards a multiple of the
identity by the amount of Chen, Wiesel, Eldar, Hero, "Shrinkage Algorithms for MMSE Covariance
Estimation", IEEE Transactions on Signal Processing 2010, https://arxiv.org/abs/0907.4698, eq. 23
(OAS). Heads from the same sums over clients, with ridge regression instead: Fanì, Camoriano,
Caputo, Ciccone, "Accelerating Heterogeneous Federated Learning with Closed-form Classifiers"
(Fed3R), ICML 2024, https://arxiv.org/abs/2406.01116
"""

import torch
from torch import Tensor

from polyrank.head_inits.head_init import FeatureSums, HeadInit, nearest_mean


def lda() -> HeadInit:
    """Answer the label with the nearest mean of whitened features; sends d² / 2 numbers more."""
    return HeadInit("lda", products=True, solve=_solve)


def _solve(sums: FeatureSums) -> tuple[Tensor, Tensor]:
    covariance = shrunk(within_labels(sums), float(sums.counts.sum()))
    means = sums.centred_means
    if not covariance.trace() > 0:  # every row is at the mean of its label
        return nearest_mean(sums, means)
    factor = torch.linalg.cholesky(covariance)
    return nearest_mean(sums, torch.cholesky_solve(means.T, factor).T)


def within_labels(sums: FeatureSums) -> Tensor:
    """Return the covariance (d, d) of the features around the mean of their label."""
    assert sums.products is not None
    means = sums.sums / sums.counts.clamp(min=1)[:, None]
    return (sums.products - means.T @ sums.sums) / sums.counts.sum()


def shrunk(covariance: Tensor, rows: float) -> Tensor:
    """Mix a covariance (d, d) of some rows with the multiple of the identity of its trace."""
    d = len(covariance)
    variance = covariance.trace() / d
    squares = covariance.square().sum()
    above = (1 - 2 / d) * squares + (d * variance) ** 2
    below = (rows + 1 - 2 / d) * (squares - d * variance**2)
    share = 1.0 if below <= 0 else min(1.0, float(above / below))
    identity = torch.eye(d, dtype=covariance.dtype)
    return (1 - share) * covariance + share * variance * identity
