"""Let clients measure themselves, and choose their ranks from it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from polyrank.allocators import Choice
from polyrank.console.progress import Watcher
from polyrank.protocol.messages import Measured
from polyrank.runs.stopwatch import Stopwatch
from polyrank.server.measuring import Costs, Measuring
from polyrank.server.ranks import RankChooser, check_equal, plan_of, profiles, without_gone
from polyrank.server.state import ServerState


@dataclass(frozen=True)
class Chosen:
    """The result of choosing ranks.

    Args:
        state: with the new plan.
        choice: of the allocator.
        told: client -> what is told of its ranks.
        changed: the clients whose slots are others than before.
        cost: of measuring.
    """

    state: ServerState
    choice: Choice
    told: Mapping[str, Mapping[str, Any]]
    changed: list[str]
    cost: Costs


@dataclass(frozen=True)
class Choosing:
    """Chooses ranks before the first round, and again when it is time.

    Args:
        ranks: the allocator with its limits.
        aggregator: its name if it needs the same rank for all, else None.
        measuring: gives what lets clients measure themselves.
        watcher: is told of it.
        clock: whose time it takes.
    """

    ranks: RankChooser
    aggregator: str | None
    measuring: Callable[[], Measuring]
    watcher: Watcher
    clock: Stopwatch

    def choose(self, state: ServerState) -> Chosen:
        """Let clients measure what the allocator needs, and choose every client's ranks."""
        measured, cost = self._measured(state)
        choice, memory = self.ranks.choose(
            state.allocator, measured, state.round, state.observed, state.sent
        )
        if self.aggregator is not None:
            check_equal(self.aggregator, choice)
        plan = plan_of(choice)
        changed = [client for client in plan if not _same(plan[client], state.plan.get(client))]
        planned = state.round if changed else state.planned
        model = replace(state.model, adapter=without_gone(state.model.adapter, choice))
        state = replace(state, model=model, plan=plan, planned=planned, allocator=memory)
        return Chosen(state, choice, profiles(choice, measured), changed, cost)

    def _measured(self, state: ServerState) -> tuple[list[Measured], Costs]:
        wanted = self.ranks.wanted_at(state.round)
        if not wanted:
            return [], Costs()
        self.watcher.stage("measuring clients")
        measuring = self.measuring()
        measured = list(measuring.measured(state, self.ranks.smallest, wanted))
        self.clock.lap("probe")
        return measured, measuring.costs


def _same(left: Mapping[str, Tensor], right: Mapping[str, Tensor] | None) -> bool:
    if right is None or left.keys() != right.keys():
        return False
    return all(torch.equal(left[module], right[module]) for module in left)
