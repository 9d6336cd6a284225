"""Train and average b alone, on a common frozen a (FFA-LoRA).

Sun et al., "Improving LoRA in Privacy-preserving Federated Learning", 2024,
https://arxiv.org/abs/2403.12313

With one ``a`` for all, the mean of the products is the product of the mean: nothing is lost,
and only ``b`` travels, for ``a`` is drawn from the seed on both sides.

Ours, as the paper has equal ranks: clients of rank r train the first r columns of ``b``, and
columns that a client lacks count as zeros, which keeps the mean exact.
"""

from polyrank.aggregators.aggregator import Aggregator, PerModule
from polyrank.aggregators.local_rule import LocalRule
from polyrank.aggregators.zero_padding import ZERO_PADDED
from polyrank.lora.factors import B


def ffa() -> Aggregator:
    """Train and average ``b`` alone; ``a`` stays as it was drawn."""
    rule = LocalRule(trains=B, sends=B, receives=B)
    return Aggregator(
        PerModule(ZERO_PADDED), frozenset({"exact", "linear_sum"}), local=lambda round: rule
    )
