"""Spread of the loss over tokens: how unevenly hard a client's texts are, word by word.

For language modelling, where AutoRank (Chen et al. 2024, https://arxiv.org/abs/2412.15553)
has no labels to count. The form is ours.
"""

import numpy as np

from polyrank.criteria.criterion import reads_losses
from polyrank.criteria.view import ClientView
from polyrank.errors import DataError


@reads_losses
def token_loss_spread(view: ClientView) -> float:
    """Standard deviation of the losses of single tokens under the trained probe, in nats.

    Raises:
        DataError: no token losses: the task is not language modelling.
    """
    losses = view.token_losses
    if losses is None or losses.size == 0:
        raise DataError("token_loss_spread: expected the loss of each token, got none")
    return float(np.std(losses))
