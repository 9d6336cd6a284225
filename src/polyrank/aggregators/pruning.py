"""Clients that give up their last slots before they send them (HetLoRA's self-pruning).

Cho, Liu, Xu, Fahrezi, Joshi, "Heterogeneous LoRA for Federated Fine-tuning of On-Device
Foundation Models", 2024, https://arxiv.org/abs/2401.06432

The tail of rank r is the slots from floor(decay * r) on. Where the product of the norms of its
two factors is smaller after training than it was before, the client cuts the tail. It alone
holds both factors before and after, whatever a method sends.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor

from polyrank.aggregators.hetlora import tail_product
from polyrank.allocators.hetlora import kept_rank
from polyrank.lora.factors import Adapter, Factors


@dataclass(frozen=True)
class Cut:
    """The rule, the same on the server and on its clients.

    Args:
        decay: the share of a rank before its tail, above 0 and below 1.
        least: module -> the rank below which it is never cut.
    """

    decay: float
    least: Mapping[str, int]

    def rank(self, module: str, rank: int) -> int:
        """Return the rank that a cut leaves, ``rank`` itself where nothing can be cut."""
        return min(rank, max(self.least[module], kept_rank(rank, self.decay)))

    def slots(self, owned: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return of the slots (r,) of each module those that a cut leaves."""
        return {m: own[: self.rank(m, len(own))] for m, own in owned.items()}

    def apply(self, before: Adapter, after: Adapter) -> dict[str, Factors]:
        """Return what a client keeps of its slots, and sends.

        Args:
            before: both factors of each module, as training began.
            after: the same slots, as training left them.
        """
        return {
            m: f.take(f.slots[: self.rank(m, f.rank)])
            if tail_product(f, self.decay) < tail_product(before[m], self.decay)
            else f
            for m, f in after.items()
        }
