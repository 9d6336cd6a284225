"""Gini-Simpson index: the chance that two examples drawn from a client differ in label.

Chen, Tavallaie, Nazemi, Chen, Zomaya, "AutoRank", 2024, https://arxiv.org/abs/2412.15553
"""

import numpy as np

from polyrank.criteria.view import ClientView, label_shares


def gini_simpson(view: ClientView) -> float:
    """Gini-Simpson index of the labels, 1 - sum pi^2.

    Returns:
        From 0 (one label, or no examples) to 1 - 1/classes.

    Raises:
        DataError: the task has no labels.
    """
    shares = label_shares(view)
    return max(0.0, 1.0 - float(np.sum(np.square(shares)))) if shares.any() else 0.0
