"""An aggregator of one's own: the median over the clients that own a slot.

    python examples/own_aggregator.py

A median needs all updates of a round at once, so its state is a list, not a sum.
"""

from dataclasses import dataclass

import torch

import polyrank
from polyrank.aggregators.aggregator import Aggregator, PerModule
from polyrank.lora.factors import Factors


@dataclass(frozen=True)
class SlotMedian:
    """Median of each number of a slot over its owners, without weights."""

    def init(self, previous: Factors) -> list[Factors]:
        """Start with no clients."""
        return []

    def add(
        self, state: list[Factors], factors: Factors | None, client_weight: float
    ) -> list[Factors]:
        """Keep the client's factors."""
        return [*state, factors] if factors is not None else state

    def finish(self, state: list[Factors], previous: Factors) -> Factors:
        """Take the median slot by slot; a slot without owner keeps its value."""
        a, b = previous.a.clone(), previous.b.clone()
        for slot in range(previous.rank):
            owners = [f for f in state if slot < f.rank]
            if owners:
                a[slot] = torch.stack([f.a[slot] for f in owners]).median(dim=0).values
                b[:, slot] = torch.stack([f.b[:, slot] for f in owners]).median(dim=0).values
        return Factors(a, b, previous.slots)


def slot_median() -> Aggregator:
    """Return what the settings name."""
    return Aggregator(PerModule(SlotMedian()), frozenset({"slot_wise"}))


if __name__ == "__main__":
    result = polyrank.run(
        {
            "name": "slot-median",
            "rounds": 3,
            "partition": {"kind": "iid", "clients": 5},
            "aggregator": slot_median,
        }
    )
    print(f"accuracy {result.summary['accuracy']['final']:.3f}, report in {result.folder}")
