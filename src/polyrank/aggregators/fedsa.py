"""Average a; b stays with its client (FedSA-LoRA).

Guo et al., "Selective Aggregation for Low-Rank Adaptation in Federated Learning", 2024,
https://arxiv.org/abs/2410.01463

``a`` is held to learn what is common and ``b`` what is the client's own, so there is no global
model to speak of: the server's ``b`` stays zero, and what counts are the personal models.

Ours, as the paper has equal ranks: each row of ``a`` is averaged over the clients that own the
slot. There is no product on the server that zeros would keep exact.
"""

from polyrank.aggregators.aggregator import Aggregator, PerModule
from polyrank.aggregators.local_rule import LocalRule
from polyrank.aggregators.rbla import RankWiseMean


def fedsa() -> Aggregator:
    """Average ``a`` over the owners of each slot; ``b`` never leaves its client."""
    rule = LocalRule(sends="a", receives="a", absent="own")
    return Aggregator(
        PerModule(RankWiseMean()), frozenset({"slot_wise", "linear_sum"}), local=lambda round: rule
    )
