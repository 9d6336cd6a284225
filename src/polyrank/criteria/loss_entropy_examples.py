"""Loss entropy over examples: how evenly the loss is spread over a client's examples.

A second reading of the "dataset learning difficulty" of Chen, Tavallaie, Nazemi, Chen,
Zomaya, "AutoRank", 2024, https://arxiv.org/abs/2412.15553. The form is ours.
"""

import numpy as np

from polyrank.criteria.criterion import reads_losses
from polyrank.criteria.view import ClientView, entropy
from polyrank.errors import DataError


@reads_losses
def loss_entropy_examples(view: ClientView) -> float:
    """Entropy of the examples' losses over ln n: low where a few hard examples hold the loss.

    One example, or losses that are all 0, give 0: nothing is spread.

    Returns:
        From 0 to 1.

    Raises:
        DataError: no example losses.
    """
    losses = view.example_losses
    if losses is None or losses.size == 0:
        raise DataError("loss_entropy_examples: expected the loss of each example, got none")
    largest = float(losses.max())
    if largest == 0 or losses.size == 1:
        return 0.0
    shares = np.sort(losses) / largest
    return min(1.0, entropy(shares / shares.sum()) / float(np.log(losses.size)))
