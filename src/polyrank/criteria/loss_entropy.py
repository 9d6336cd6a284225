"""Loss entropy over epochs: how slowly a client's loss falls while a probe trains.

The idea, "dataset learning difficulty", is that of Chen, Tavallaie, Nazemi, Chen, Zomaya,
"AutoRank", 2024, https://arxiv.org/abs/2412.15553. The form is ours.
"""

import numpy as np

from polyrank.criteria.probe import reads_losses
from polyrank.criteria.view import ClientView, entropy
from polyrank.errors import DataError


@reads_losses
def loss_entropy(view: ClientView) -> float:
    """Entropy of the epochs' mean losses, H = -(1/ln E) sum q_e ln q_e, q_e = l_e / sum l.

    A loss that falls fast gives a low value: easy data. One that stays where it was gives 1.
    Losses that are all 0 give 0: there was nothing to learn.

    Returns:
        From 0 to 1.

    Raises:
        DataError: no epoch losses, or fewer than 2 epochs.
    """
    losses = view.epoch_losses
    if losses is None or losses.size < 2:
        got = "none" if losses is None else f"{losses.size}"
        raise DataError(f"loss_entropy: expected the losses of at least 2 epochs, got {got}")
    largest = float(losses.max())
    if largest == 0:
        return 0.0
    shares = losses / largest
    return min(1.0, entropy(shares / shares.sum()) / float(np.log(losses.size)))
