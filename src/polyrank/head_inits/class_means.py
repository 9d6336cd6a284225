"""A head from the mean feature of each label.

Legate, Bernier, Page-Caccia, Oyallon, Belilovsky, "Guiding The Last Layer in Federated Learning
with Pre-Trained Models" (FedNCM), NeurIPS 2023, https://arxiv.org/abs/2306.03937

Ours: the paper takes means of length one and no bias; here the logits are those of the nearest
mean in Euclidean distance, so that a mean that all labels share does not matter.
"""

from torch import Tensor

from polyrank.head_inits.head_init import FeatureSums, HeadInit, nearest_mean


def class_means() -> HeadInit:
    """Answer the label with the nearest mean feature (FedNCM); clients send a mean per label."""
    return HeadInit("class_means", products=False, solve=_solve)


def _solve(sums: FeatureSums) -> tuple[Tensor, Tensor]:
    return nearest_mean(sums, sums.centred_means)
