"""Label count: how many labels a client has at all.

Chen, Tavallaie, Nazemi, Chen, Zomaya, "AutoRank", 2024, https://arxiv.org/abs/2412.15553
"""

import numpy as np

from polyrank.criteria.view import ClientView
from polyrank.errors import DataError


def label_count(view: ClientView) -> float:
    """Count the labels that are present.

    A label is present from half an example on, which changes nothing for true counts and
    halves what noise on the counts adds to absent labels.

    Returns:
        A whole number from 0 to the number of classes.

    Raises:
        DataError: the task has no labels.
    """
    if view.label_counts.size == 0:
        raise DataError("a label criterion needs labels: expected label_counts, got none")
    return float(np.count_nonzero(view.label_counts >= 0.5))
