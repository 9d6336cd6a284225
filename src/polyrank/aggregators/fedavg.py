"""Mean of LoRA factors of equal ranks (FedAvg, as FedIT uses it).

McMahan et al., "Communication-Efficient Learning of Deep Networks from Decentralized Data",
2017, https://arxiv.org/abs/1602.05629; for LoRA: Zhang et al., "Towards Building the
Federated GPT: Federated Instruction Tuning", 2023, https://arxiv.org/abs/2305.05644
"""

from polyrank.aggregators.aggregator import Aggregator, PerModule
from polyrank.aggregators.rbla import RankWiseMean
from polyrank.aggregators.sums import SlotSums
from polyrank.errors import ShapeError
from polyrank.lora.factors import Factors


class _EqualMean(RankWiseMean):
    def add(self, state: SlotSums, factors: Factors | None, client_weight: float) -> SlotSums:
        owned = factors.slots.tolist() if factors else []
        others = state.owners.nonzero().flatten().tolist()
        if not owned or (others and owned != others):
            raise ShapeError(
                f"fedavg: expected slots {others or 'of the module'} of every client, got {owned}; "
                f"unequal ranks need another aggregator"
            )
        return super().add(state, factors, client_weight)


def fedavg() -> Aggregator:
    """Average factors of equal ranks."""
    return Aggregator(
        PerModule(_EqualMean()), frozenset({"slot_wise", "linear_sum"}), equal_ranks=True
    )
