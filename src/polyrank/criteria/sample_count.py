"""Sample count: how many training examples a client has.

Chen, Tavallaie, Nazemi, Chen, Zomaya, "AutoRank", 2024, https://arxiv.org/abs/2412.15553,
which names the data volume and gives no formula.
"""

from polyrank.criteria.view import ClientView


def sample_count(view: ClientView) -> float:
    """Return the number of training examples."""
    return view.examples
