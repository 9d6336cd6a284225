"""The server's state between two rounds."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, TypeAlias

import torch
from torch import Tensor

from polyrank.aggregators.aggregator import ServerModel
from polyrank.lora.factors import Adapter, first_slots
from polyrank.server_optimizers.optimizer import Memory

Plan: TypeAlias = Mapping[str, Mapping[str, Tensor]]
# client -> module -> the numbers of its slots, and what was observed of each
Observed: TypeAlias = Mapping[str, Mapping[str, tuple[Sequence[int], Sequence[float]]]]
Sent: TypeAlias = Mapping[str, Mapping[str, int]]


@dataclass(frozen=True)
class ServerState:
    """Everything on which the next round depends.

    Args:
        model: the global model.
        plan: client -> module -> slots (r_k,).
        round: rounds finished.
        trained: client -> the last finished round in which its update was accepted.
        planned: the round after which the plan was last changed.
        observed: what the allocator's observer gave for the slots of the last round's clients.
        sent: how many slots clients sent in the last round, where they may give some up.
        memory: of the server's optimiser.
        average: the exported average, if one is kept.
        allocator: the allocator's own state, as JSON holds it.
        errors: client -> the share of its change that it need not send, where clients send changes.
        held: client of the last round -> the factors that it was sent in it, where steps from them
            are sent.
        down: how many slots of each module clients are sent, None for all of theirs.
        suspect: the first update that was accepted though it was far larger than the others.
    """

    model: ServerModel
    plan: Plan
    round: int = 0
    trained: Mapping[str, int] = field(default_factory=dict)
    planned: int = 0
    memory: Memory = field(default_factory=dict)
    average: ServerModel | None = None
    allocator: Any = None
    observed: Observed = field(default_factory=dict)
    sent: Sent = field(default_factory=dict)
    suspect: str | None = None
    errors: Mapping[str, float] = field(default_factory=dict)
    held: Mapping[str, Adapter] = field(default_factory=dict)
    down: int | None = None

    @property
    def exported(self) -> ServerModel:
        """The model that is evaluated and exported: of the slots those that clients are sent."""
        whole = self.average or self.model
        if self.down is None:
            return whole
        return replace(whole, adapter=first_slots(whole.adapter, self.down))

    @property
    def in_use(self) -> ServerModel:
        """The exported model without slots that nobody owns and that add nothing.

        Slots of the average are singular triples, which nobody owns.
        """
        found, model = {}, self.exported
        for module, factors in model.adapter.items():
            used = (factors.b != 0).any(dim=0)
            owned = self.plan.values() if self.average is None or not used.any() else ()
            for of in owned:
                used |= torch.isin(factors.slots, of.get(module, factors.slots[:0]))
            if used.any():
                found[module] = factors.take(factors.slots[used])
        return replace(model, adapter=found)
