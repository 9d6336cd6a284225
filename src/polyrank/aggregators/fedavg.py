"""Mean of LoRA factors of equal ranks (FedAvg, as FedIT uses it).

McMahan et al., "Communication-Efficient Learning of Deep Networks from Decentralized Data",
2017, https://arxiv.org/abs/1602.05629; for LoRA: Zhang et al., "Towards Building the
Federated GPT: Federated Instruction Tuning", 2023, https://arxiv.org/abs/2305.05644
"""

from polyrank.aggregators.aggregator import Aggregator, PerModule
from polyrank.aggregators.linear_sum import LinearSum
from polyrank.aggregators.rbla import mean_over_owners
from polyrank.aggregators.sums import SlotSums
from polyrank.errors import ShapeError
from polyrank.lora.factors import Factors


def equal_mean(sums: SlotSums, previous: Factors) -> Factors:
    """Divide the sums by the weight of all clients, who must own the same slots.

    Raises:
        ShapeError: some own others than some.
    """
    alone = (sums.owners != sums.total) & (sums.owners > 0)
    if alone.any() or (sums.total and not sums.owners.any()):
        raise ShapeError(
            f"fedavg: expected the same slots of every client, got slots "
            f"{alone.nonzero().flatten().tolist() or 'none'} of some alone; unequal ranks need "
            "another aggregator"
        )
    return mean_over_owners(sums, previous)


def fedavg() -> Aggregator:
    """Average factors of equal ranks."""
    return Aggregator(
        PerModule(LinearSum(equal_mean)), frozenset({"slot_wise", "linear_sum"}), equal_ranks=True
    )
