"""The round loop of a federation with a server; knows neither processes nor networks.

A round: draw the cohort, cut each client's slots, send, train, judge what comes back, fold it,
finish the aggregated model, let the server's optimiser step towards it.
"""

import time
from collections.abc import Callable, Collection, Container, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch

from polyrank.aggregators.aggregator import Aggregator, Fold, ServerModel
from polyrank.aggregators.local_rule import LocalRule
from polyrank.allocators.needs import Changes
from polyrank.allocators.pruning import Cut
from polyrank.errors import QuorumError
from polyrank.lora.factors import Adapter, Factors, revive_dead_slots, start_factors
from polyrank.plain import one_line
from polyrank.protocol.engine import Engine
from polyrank.protocol.messages import ChangeRule, TaskId, TrainTask, Update
from polyrank.seeding import derive
from polyrank.server.asking import asked
from polyrank.server.averaging import averaged
from polyrank.server.catching_up import CatchingUp, Held
from polyrank.server.downloads import download_for, expected_back, expected_change
from polyrank.server.intake import Intake, Taken, is_finite
from polyrank.server.round_record import RoundRecord, Turn
from polyrank.server.rules import Rules
from polyrank.server.state import Observed, Sent, ServerState
from polyrank.server_optimizers.optimizer import ServerOptimizer, advance


@dataclass(frozen=True)
class Federation:
    """A federation: its rules, its aggregator, and the engine that reaches its clients.

    Args:
        rules: who takes part, how many must answer, how fast clients learn.
        aggregator: what makes the next model.
        engine: where clients are.
        roster: client -> the most examples that it may say it has trained on; the largest
            first, as every sum over clients has this order.
        buffers: names of the extras that are statistics and no parameters.
        optimizer: of the server; None takes the aggregated model as it is.
        cut: by which clients cut their ranks before they send them; None where they do not.
        observes: whether clients send what the allocator's observer gives.
        changes: how changes of the product are sent; None where factors are.
        caps: client -> the largest rank of a change.
        on_turn: told of each client that has answered: its name, how many have, of how many.
    """

    rules: Rules
    aggregator: Aggregator
    engine: Engine
    roster: Mapping[str, float]
    buffers: frozenset[str] = frozenset()
    optimizer: ServerOptimizer | None = None
    cut: Cut | None = None
    observes: bool = False
    changes: Changes | None = None
    caps: Mapping[str, int] = field(default_factory=dict)
    on_turn: Callable[[str, int, int], None] = lambda client, done, total: None

    def next_round(self, state: ServerState) -> tuple[ServerState, RoundRecord]:
        """Run one round; its record has no metrics yet.

        Raises:
            QuorumError: too few good updates, in every attempt; ``state`` is still good.
        """
        number = state.round + 1
        earlier: list[Turn] = []
        barred: set[str] = set()
        for attempt in range(self.rules.attempts):
            started = time.perf_counter()
            taken, observed, sent, came = self._attempt(state, number, attempt, barred)
            seconds = time.perf_counter() - started
            if len(taken.accepted) >= self.rules.needed(len(self.roster)):
                stepped = self._stepped(state, taken, number)
                if stepped:
                    break
                taken, worst = taken.without_the_largest()
                barred.add(worst)
            earlier += taken.turns
        else:
            raise QuorumError(_too_few(number, taken.turns, self.rules, state.suspect))
        done = dict.fromkeys((t.client for t in taken.accepted), number)
        state = replace(
            stepped,
            round=number,
            trained={**state.trained, **done},
            observed={client: of for client, of in observed.items() if client in done},
            sent={client: of for client, of in sent.items() if client in done},
            held={client: of for client, of in came.items() if client in done},
            suspect=state.suspect or taken.suspect(number),
        )
        return state, RoundRecord(number, taken.turns, seconds={"train": seconds}, earlier=earlier)

    def _attempt(
        self, state: ServerState, number: int, attempt: int, barred: Collection[str]
    ) -> tuple[Taken, Observed, Sent, Held]:
        """Let a cohort train, then check and aggregate its answers."""
        drawn = self.rules.draw(list(self.roster), number, attempt)
        cohort = [client for client in drawn if client not in barred]
        rule = self.aggregator.local(number)
        fold = self._fold(state, cohort)
        intake = Intake(fold, state.model, self.rules.norm_bound, self.observes)
        observed: dict[str, dict[str, tuple[list[int], list[float]]]] = {}
        sent: dict[str, dict[str, int]] = {}
        catching_up = self._catching_up(state)
        tasks = self._tasks(state, cohort, number, attempt, catching_up)
        answers = asked(self.engine.run, tasks, self.rules.patience(len(self.roster)))
        for done, (task, answer) in enumerate(answers, start=1):
            client = task.id.client
            expected, cut = self._expected(state, task, rule)
            turn = intake.take(task, answer, expected, self.roster[client], cut)
            keeps = self.cut is not None or self.changes is not None
            if keeps and turn.accepted and isinstance(answer, Update):
                sent[client] = {m: answer.adapter[m].rank for m in expected}
            if self.observes and turn.accepted and isinstance(answer, Update):
                observed[client] = {
                    m: (f.slots.tolist(), answer.observed[m].tolist()) for m, f in expected.items()
                }
            self.on_turn(client, done, len(cohort))
        return intake.finish(), observed, sent, catching_up.sent if catching_up else {}

    def _expected(
        self, state: ServerState, task: TrainTask, rule: LocalRule
    ) -> tuple[Adapter, Mapping[str, Container[int]]]:
        """Return what an update's adapter must be like, and which smaller ranks it may have."""
        model, owned = state.model.adapter, state.plan[task.id.client]
        if task.change:
            change = expected_change(model, owned, task.change)
            return change, {m: range(f.rank) for m, f in change.items()}
        expected = expected_back(model, owned, rule)
        if self.cut is None:
            return expected, {}
        return expected, {m: (self.cut.rank(m, f.rank),) for m, f in expected.items()}

    def _tasks(
        self,
        state: ServerState,
        cohort: Sequence[str],
        number: int,
        attempt: int,
        catching_up: CatchingUp | None,
    ) -> Iterator[TrainTask]:
        rate, rule = self.rules.rate(number), self.aggregator.local(number)
        small = self.rules.compression
        for client in cohort:
            id = TaskId(self.rules.run, number, client, attempt)
            slots, last = state.plan[client], state.trained.get(client)
            current = last == number - 1 and state.planned < number - 1
            download = download_for(
                state,
                client,
                slots,
                rule,
                current=current,
                compression=small,
                catching_up=catching_up,
            )
            others = rule.view == "all" or state.down is not None  # than those that are sent
            own = {m: slots[m] for m in download.adapter} if others else None
            change = self._change_rule(state, client)
            slower = self.changes.rate(max(map(len, slots.values()))) if self.changes else 1.0
            yield TrainTask(id, download, rate * slower, own, last, change, small)

    def _catching_up(self, state: ServerState) -> CatchingUp | None:
        if self.changes is None or not self.changes.download_error or not self.aggregator.rejoin:
            return None
        error, small = self.changes.download_error, self.rules.compression
        return CatchingUp(state.held, self.aggregator.rejoin, error, small)

    def _change_rule(self, state: ServerState, client: str) -> ChangeRule | None:
        if self.changes is None:
            return None
        feedback, keeps = self.changes.feedback, bool(self.changes.download_error)
        return ChangeRule(state.errors[client], feedback, self.caps.get(client), keeps)

    def _fold(self, state: ServerState, cohort: Sequence[str]) -> Fold[Any]:
        if self.changes is not None and self.aggregator.of_changes:
            return self.aggregator.of_changes
        if not self.aggregator.expecting:
            return self.aggregator.fold
        plans = [state.plan[c] for c in cohort]
        plans += [self.cut.slots(plan) for plan in plans] if self.cut else []
        return self.aggregator.expecting(state.model, plans)

    def _stepped(self, state: ServerState, taken: Taken, number: int) -> ServerState | None:
        """Compute the next state: aggregate, apply the server's optimiser, restart dead slots.

        Returns:
            None if the next state is not finite.
        """
        memory, average = state.memory, None
        try:
            model = taken.aggregated()
            if self.optimizer:
                model, memory = advance(
                    self.optimizer, memory, state.model, model, self.aggregator, self.buffers
                )
            model = self._restarted(model, number)
            most = self.rules.average
            if most:
                average = averaged(state.average, model, number, most, self.buffers)
        except torch.linalg.LinAlgError:  # type: ignore[attr-defined] # SVD of infinite numbers
            return None
        if not is_finite(model, average, memory=memory):
            return None
        return replace(state, model=model, memory=memory, average=average)

    def _restarted(self, model: ServerModel, number: int) -> ServerModel:
        """Restart dead slots, or all slots where the method draws new factors every round."""
        fresh = self.aggregator.local(number + 1).absent == "fresh"

        def restart(module: str, factors: Factors) -> Factors:
            if fresh:
                shape = factors.a.shape[1], len(factors.b)
                return start_factors(shape, factors.rank, self.rules.seed, module, number)
            generator = torch.Generator().manual_seed(
                derive(self.rules.seed, "revive", number, module)
            )
            return revive_dead_slots(factors, generator)

        return replace(model, adapter={m: restart(m, f) for m, f in model.adapter.items()})


def _too_few(number: int, turns: Sequence[Turn], rules: Rules, suspect: str | None) -> str:
    good = sum(turn.accepted for turn in turns)
    same: dict[str | None, list[str]] = {}
    for turn in turns:
        if not turn.accepted:
            same.setdefault(turn.refused or turn.failed, []).append(one_line(turn.client))
    shown = "; ".join(
        f"client{'s' * (len(clients) > 1)} {', '.join(clients[:20])}: {reason}"
        for reason, clients in list(same.items())[:5]
    )
    before = f"; before that {suspect}: set norm_bound to refuse such updates" if suspect else ""
    return (
        f"round {number}: {good} good updates of {len(turns)} in {rules.attempts} attempts, "
        f"the quorum is {rules.quorum}; {shown}{before}"
    )
