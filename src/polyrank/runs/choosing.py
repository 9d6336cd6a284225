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
from polyrank.server.cut_judge import CutJudge, CutLosses
from polyrank.server.measuring import Costs, Measuring
from polyrank.server.ranks import (
    RankChooser,
    check_equal,
    errors_of,
    plan_of,
    profiles,
    with_slots,
    without_gone,
)
from polyrank.server.state import ServerState


@dataclass(frozen=True)
class Chosen:
    """The result of choosing ranks.

    Args:
        state: with the new plan.
        choice: of the allocator.
        told: client -> what is told of its ranks.
        changed: the clients whose slots are others than before.
        cost: of measuring, and of judging the cut model.
        cuts: number of slots -> loss of the global model cut to them, where that was asked for.
    """

    state: ServerState
    choice: Choice
    told: Mapping[str, Mapping[str, Any]]
    changed: list[str]
    cost: Costs
    cuts: Mapping[int, float]


@dataclass(frozen=True)
class Choosing:
    """Chooses ranks before the first round, and again when it is time.

    Args:
        ranks: the allocator with its limits.
        aggregator: its name if it needs the same rank for all, else None.
        measuring: gives what lets clients measure themselves.
        watcher: is told of it.
        clock: whose time it takes.
        judging: gives what judges the cut global model.
    """

    ranks: RankChooser
    aggregator: str | None
    measuring: Callable[[], Measuring]
    watcher: Watcher
    clock: Stopwatch
    judging: Callable[[], CutJudge]

    def choose(self, state: ServerState) -> Chosen:
        """Let clients measure what the allocator needs, and choose every client's ranks."""
        measured, cost = self._measured(state)
        judged = self._cuts(state)
        cuts, cost = judged.losses, cost + judged.cost
        choice, memory = self.ranks.choose(
            state.allocator, measured, state.round, state.observed, state.sent, cuts
        )
        if self.aggregator is not None:
            check_equal(self.aggregator, choice)
        plan = plan_of(choice)
        changed = [client for client in plan if not _same(plan[client], state.plan.get(client))]
        planned = state.round if changed else state.planned
        adapter = without_gone(state.model.adapter, choice)
        if self.ranks.needs.cuts:
            adapter = with_slots(adapter, choice, self.ranks.settings.seed, state.round)
        state = replace(
            state,
            model=replace(state.model, adapter=adapter),
            plan=plan,
            planned=planned,
            allocator=memory,
            errors=errors_of(choice),
            down=choice.down,
        )
        return Chosen(state, choice, profiles(choice, measured), changed, cost, cuts)

    def _cuts(self, state: ServerState) -> CutLosses:
        """Judge the exported model cut to its first slots, where the allocator asks for it.

        Of few clients a round each moves the model far; their running mean stands still enough for
        its slots to be told from noise.
        """
        slots = max(f.rank for f in state.model.adapter.values())
        wanted = self.ranks.wanted_cuts(slots, state.round)
        if not wanted:
            return CutLosses()
        found = self.judging().judge(state.average or state.model, state.round, wanted)
        self.clock.lap("cuts")
        return found

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
