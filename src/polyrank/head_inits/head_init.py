"""What a head is made from, and the linear classifier that sums over clients give.

Features are what the head's last linear layer is given. Every sum is a plain sum over rows, so
it does not matter how the rows are spread over clients, and secure aggregation can compute it.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True)
class FeatureSums:
    """Sums over rows, float64.

    Args:
        counts: (classes,) rows of each label.
        sums: (classes, d) sum of the features of each label's rows.
        products: (d, d) sum of ``x xᵀ`` over all rows; None if it was not asked for.
    """

    counts: Tensor
    sums: Tensor
    products: Tensor | None = None

    def __add__(self, other: "FeatureSums") -> "FeatureSums":
        products = None
        if self.products is not None and other.products is not None:
            products = self.products + other.products
        return FeatureSums(self.counts + other.counts, self.sums + other.sums, products)

    @property
    def mean(self) -> Tensor:
        """(d,) mean feature of all rows."""
        return self.sums.sum(0) / self.counts.sum()

    @property
    def centred_means(self) -> Tensor:
        """(classes, d) mean feature of each label minus that of all rows; 0 without rows."""
        means = self.sums / self.counts.clamp(min=1)[:, None]
        return (means - self.mean) * (self.counts > 0)[:, None]


@dataclass(frozen=True)
class HeadInit:
    """A way to make the head.

    Args:
        name: what it is called in a run's output and summary.
        products: whether it needs ``FeatureSums.products``.
        solve: the sums over all clients -> weight (classes, d) and bias (classes,).
        only_new: whether a head that is not new, or that may not be made, is left as it is.
    """

    name: str
    products: bool
    solve: Callable[[FeatureSums], tuple[Tensor, Tensor]]
    only_new: bool = False


def nearest_mean(sums: FeatureSums, directions: Tensor) -> tuple[Tensor, Tensor]:
    """Return the linear classifier that answers the label with the nearest mean.

    Distances are ``(x - m)ᵀ P (x - m)``. A label without rows has no mean; its logit is that of
    the others' average less a gap, so that it is never the answer, whatever the features, and the
    least of all at the mean of every label.
    Ours: logits are scaled so that at the mean of its label a row's own logit is on average
    ``ln(classes)`` above that of a label in the middle: as likely as all of those together, which
    training can sharpen, and not so sure that training would first have to unlearn it.

    Args:
        sums: over all clients.
        directions: (classes, d) ``P`` times the centred mean of each label.

    Returns:
        weight (classes, d) and bias (classes,).
    """
    squared = (directions * sums.centred_means).sum(1)
    spread = (squared * sums.counts).sum() / sums.counts.sum()
    sharpness = 2 * math.log(max(2, len(squared)))
    scale = sharpness / spread if spread > 0 else 0.0  # 0: all labels have the same mean
    weight = scale * directions
    bias = -weight @ sums.mean - scale * squared / 2
    seen = sums.counts > 0
    if not seen.all():
        weight[~seen], bias[~seen] = weight[seen].mean(0), bias[seen].mean()
        at_means = (sums.sums[seen] / sums.counts[seen, None]) @ weight.T + bias
        bias[~seen] -= (at_means[:, ~seen] - at_means.amin(1, keepdim=True)).max() + sharpness
    return weight, bias


def without_bias(weight: Tensor, bias: Tensor, mean: Tensor) -> Tensor:
    """Let the direction of the mean feature carry the bias: exact at the mean.

    Args:
        weight: (classes, d).
        bias: (classes,).
        mean: (d,) of all rows; where it is 0 the bias is lost.

    Returns:
        a weight (classes, d) for a layer that has no bias.
    """
    return weight + bias[:, None] * mean / mean.square().sum().clamp(min=1e-12)
