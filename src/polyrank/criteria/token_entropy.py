"""Entropy of the tokens: how varied the words of a client's texts are.

For texts, where AutoRank (Chen et al. 2024, https://arxiv.org/abs/2412.15553) may have no
labels to count. The form is ours.
"""

import numpy as np

from polyrank.criteria.criterion import reads_tokens
from polyrank.criteria.view import ClientView, entropy
from polyrank.errors import DataError


@reads_tokens
def token_entropy(view: ClientView) -> float:
    """Shannon entropy of the shares of token types in the client's texts, in nats.

    Raises:
        DataError: no token counts: the data are no texts.
    """
    counts = view.token_counts
    if counts is None or counts.sum() == 0:
        raise DataError("token_entropy: expected counts of tokens, got none: the data are no texts")
    return entropy(np.sort(counts[counts > 0]) / counts.sum())
