"""Loss entropy over a probe: how slowly a client's loss falls while it trains.

The idea, "dataset learning difficulty", is that of Chen, Tavallaie, Nazemi, Chen, Zomaya,
"AutoRank", 2024, https://arxiv.org/abs/2412.15553. The form is ours.
"""

import numpy as np

from polyrank.criteria.criterion import reads_losses
from polyrank.criteria.view import ClientView, entropy
from polyrank.errors import DataError


@reads_losses
def loss_entropy(view: ClientView) -> float:
    """Entropy of mean losses l_e, H = -(1/ln E) sum q_e ln q_e with q_e = l_e / sum l.

    The paper's epochs e are here E equal parts of a probe of as many steps on every client: in
    epochs, a client with more rows takes more steps, and H says that. A loss that falls fast
    gives a low value: easy data. One that stays where it was gives 1. Losses that are all 0
    give 0: there was nothing to learn.

    Returns:
        From 0 to 1.

    Raises:
        DataError: no losses, or fewer than 2 parts.
    """
    losses = view.epoch_losses
    if losses is None or losses.size < 2:
        got = "none" if losses is None else f"{losses.size}"
        raise DataError(f"loss_entropy: expected losses of at least 2 parts of a probe, got {got}")
    largest = float(losses.max())
    if largest == 0:
        return 0.0
    shares = losses / largest
    return min(1.0, entropy(shares / shares.sum()) / float(np.log(losses.size)))
