"""Clients that give up their last slots before they send them, as far as r_min allows.

A client alone holds both factors before and after training, whatever a method sends. Which slots
it may give up is known to the server as well, which refuses any other number of them.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from polyrank.allocators.needs import Pruning

if TYPE_CHECKING:
    from torch import Tensor

    from polyrank.lora.factors import Adapter, Factors


@dataclass(frozen=True)
class Cut:
    """The rule of an allocator, the same on the server and on its clients.

    Args:
        rule: of the allocator.
        least: module -> the rank below which it is never cut.
    """

    rule: Pruning
    least: Mapping[str, int]

    def rank(self, module: str, rank: int) -> int:
        """Return the rank that a cut leaves, ``rank`` itself where nothing can be cut."""
        return min(rank, max(self.least[module], self.rule.kept(rank)))

    def slots(self, owned: "Mapping[str, Tensor]") -> "dict[str, Tensor]":
        """Return of the slots (r,) of each module those that a cut leaves."""
        return {m: own[: self.rank(m, len(own))] for m, own in owned.items()}

    def apply(self, before: "Adapter", after: "Adapter") -> "dict[str, Factors]":
        """Return what a client keeps of its slots, and sends.

        Args:
            before: both factors of each module, as training began.
            after: the same slots, as training left them.
        """
        return {
            m: f.take(f.slots[: self.rank(m, f.rank)]) if self.rule.gives_up(before[m], f) else f
            for m, f in after.items()
        }
