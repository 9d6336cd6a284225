"""Label entropy: how evenly a client's examples are spread over labels.

Chen, Tavallaie, Nazemi, Chen, Zomaya, "AutoRank", 2024, https://arxiv.org/abs/2412.15553
"""

from polyrank.criteria.view import ClientView, entropy, label_shares


def label_entropy(view: ClientView) -> float:
    """Shannon entropy of the labels, -sum pi ln pi with 0 ln 0 = 0.

    Returns:
        Nats, from 0 (one label, or no examples) to ln(classes).

    Raises:
        DataError: the task has no labels.
    """
    return entropy(label_shares(view))
