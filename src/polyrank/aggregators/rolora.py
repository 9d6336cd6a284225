"""Train and average b in odd rounds, a in even ones (RoLoRA).

Chen et al., "Robust Federated Finetuning of LLMs via Alternating Optimization of LoRA", 2025,
https://arxiv.org/abs/2502.01755

The factor that rests is the same on all clients, so the mean of the other is the mean of the
products. A client that took part in the round before is sent the factor that this changed;
others get both.

Ours: clients weigh by their numbers of training examples, as with the other methods here;
``client_weights = "equal"`` is the paper's mean. And as the paper has equal ranks: slots that a
client lacks count as zeros, which keeps the mean exact.
"""

from polyrank.aggregators.aggregator import Aggregator, ClientWeights, PerModule
from polyrank.aggregators.local_rule import LocalRule
from polyrank.aggregators.zero_padding import ZERO_PADDED
from polyrank.lora.factors import A, B


def _alternate(round: int) -> LocalRule:
    now, before = (B, A) if round % 2 else (A, B)
    return LocalRule(trains=now, sends=now, changed=before, absent="own")


def rolora(*, client_weights: ClientWeights = "examples") -> Aggregator:
    """Train and average ``b`` in odd rounds and ``a`` in even ones.

    Args:
        client_weights: a client's weight in the means: ``examples``, its number of training
            examples, or ``equal``, as in the paper.
    """
    return Aggregator(
        PerModule(ZERO_PADDED, client_weights=client_weights),
        frozenset({"exact", "linear_sum"}),
        local=_alternate,
    )
