"""Average a; b stays with its client (FedSA-LoRA).

Guo et al., "Selective Aggregation for Low-Rank Adaptation in Federated Learning", 2024,
https://arxiv.org/abs/2410.01463

``a`` is held to learn what is common and ``b`` what is the client's own, so there is no global
model to speak of: the server's ``b`` stays zero, and what counts are the personal models.

Ours: clients weigh by their numbers of training examples, as with the other methods here;
``client_weights = "equal"`` is the paper's mean. And as the paper has equal ranks: each row of
``a`` is averaged over the clients that own the slot. There is no product on the server that
zeros would keep exact.
"""

from polyrank.aggregators.aggregator import Aggregator, ClientWeights, PerModule
from polyrank.aggregators.local_rule import LocalRule
from polyrank.aggregators.rbla import RANK_WISE
from polyrank.lora.factors import A


def fedsa(*, client_weights: ClientWeights = "examples") -> Aggregator:
    """Average ``a`` over the owners of each slot; ``b`` never leaves its client.

    Args:
        client_weights: a client's weight in the means: ``examples``, its number of training
            examples, or ``equal``, as in the paper.
    """
    rule = LocalRule(sends=A, receives=A, absent="own")
    return Aggregator(
        PerModule(RANK_WISE, client_weights=client_weights),
        frozenset({"slot_wise", "linear_sum"}),
        local=lambda round: rule,
    )
