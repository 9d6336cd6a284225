"""The round loop and the server's state; knows neither processes nor networks.

A round in nine steps: draw the cohort, cut each client's slots, send, train, check what
comes back, fold it, finish the aggregated model, let the server's optimiser step towards it,
evaluate what is exported.
"""

import math
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, Literal, TypeAlias

import torch
from torch import Tensor

from polyrank.aggregators.aggregator import Aggregator, ServerModel
from polyrank.aggregators.local_rule import LocalRule, slots_sent
from polyrank.allocators.pruning import Cut
from polyrank.errors import QuorumError, TrainingError
from polyrank.lora.factors import Adapter, Factors, prefix, revive_dead_slots, start_factors
from polyrank.plain import one_line
from polyrank.protocol.messages import (
    Counted,
    Download,
    Engine,
    EvaluateTask,
    Measured,
    ProbeTask,
    TaskId,
    TrainTask,
    Update,
    Wanted,
)
from polyrank.seeding import derive, numpy_stream
from polyrank.server.averaging import averaged
from polyrank.server.guards import count_refusal, probe_refusal
from polyrank.server.intake import Intake, Taken, is_finite
from polyrank.server.metrics import pooled_metrics
from polyrank.server.round_record import Metrics, RoundRecord, Turn, brief, turn_of
from polyrank.server_optimizers.optimizer import Memory, ServerOptimizer, advance
from polyrank.settings.schema import Settings, TrainingSettings

EVALUATION_BLOCK = 2500

Plan: TypeAlias = Mapping[str, Mapping[str, Tensor]]
# client -> module -> the numbers of its slots, and what was observed of each
Observed: TypeAlias = Mapping[str, Mapping[str, tuple[Sequence[int], Sequence[float]]]]
Sent: TypeAlias = Mapping[str, Mapping[str, int]]


@dataclass(frozen=True)
class ServerState:
    """All that the next round depends on.

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

    @property
    def exported(self) -> ServerModel:
        """The model that is evaluated and exported."""
        return self.average or self.model


@dataclass(frozen=True)
class Federation:
    """A federation: its settings, its aggregator, and the engine that reaches its clients.

    Args:
        settings: of the run.
        aggregator: what makes the next model.
        engine: where clients are.
        validation_rows: number of the server's validation rows.
        test_rows: number of test rows.
        buffers: names of the extras that are statistics and no parameters.
        optimizer: of the server; None takes the aggregated model as it is.
        cut: by which clients cut their ranks before they send; None where they do not.
        observes: whether clients send what the allocator's observer gives.
        on_turn: told of each client that has answered: its name, how many have, of how many.
        on_failure: told of what a client could not measure or evaluate, and the run did without.
    """

    settings: Settings
    aggregator: Aggregator
    engine: Engine
    validation_rows: int
    test_rows: int
    buffers: frozenset[str] = frozenset()
    optimizer: ServerOptimizer | None = None
    cut: Cut | None = None
    observes: bool = False
    on_turn: Callable[[str, int, int], None] = lambda client, done, total: None
    on_failure: Callable[[Turn], None] = lambda turn: None

    @cached_property
    def roster(self) -> list[str]:
        """Clients, those with most examples first; every sum over clients has this order.

        Long trainings start first, so that no worker ends a round alone.
        """
        examples = self.engine.roster()
        return sorted(examples, key=lambda client: (-examples[client], client))

    def probe(
        self, state: ServerState, ranks: Mapping[str, int], wanted: Wanted
    ) -> Iterator[Measured]:
        """Let every client measure itself, starting from the global model at small ranks.

        Args:
            state: whose model is the global one.
            ranks: module -> rank.
            wanted: what to measure.

        Yields:
            what each client measured; one that could not, or whose numbers cannot be used, is
            told to ``on_failure`` and left out.

        Raises:
            TrainingError: no client could.
        """
        rate = learning_rate(self.settings.training, state.round + 1, self.settings.rounds)
        head = state.model.extras.get(f"{wanted.head}.weight")
        sent: list[ProbeTask] = []

        def tasks() -> Iterator[ProbeTask]:
            for client in self.roster:
                id = TaskId(self.settings.name, state.round, client)
                download = self.probe_download(state, ranks, client, wanted)
                sent.append(ProbeTask(id, download, rate, wanted, state.trained.get(client)))
                yield sent[-1]

        good, reason = 0, None
        for done, answer in enumerate(self.engine.run(tasks()), start=1):
            task = sent.pop(0)
            client, down = task.id.client, task.download.nbytes
            self.on_turn(client, done, len(self.roster))
            if isinstance(answer, Measured):
                reason = probe_refusal(answer, task, ranks, head)
                if reason is None:
                    good += 1
                    yield answer
                    continue
            else:
                reason = _instead(answer)
            self.on_failure(Turn(client, down, failed=f"could not be measured: {reason}"))
        if not good:
            raise TrainingError(f"no client could be measured; the last one: {reason}")

    def probe_download(
        self, state: ServerState, ranks: Mapping[str, int], client: str, wanted: Wanted
    ) -> Download:
        """Return what a client is sent to measure itself: the first slots, or nothing."""
        if not wanted.needs_model:
            return Download({}, {})
        slots = {module: prefix(r) for module, r in ranks.items()}
        rule = replace(self.aggregator.local(state.round + 1), view="own")
        return self._download(state, client, slots, rule, current=False)

    def next_round(self, state: ServerState) -> tuple[ServerState, RoundRecord]:
        """Run one round.

        Raises:
            QuorumError: too few good updates, in every attempt; ``state`` is still good.
        """
        number = state.round + 1
        earlier: list[Turn] = []
        barred: set[str] = set()
        for attempt in range(self.settings.attempts):
            started = time.perf_counter()
            taken, observed, sent = self._attempt(state, number, attempt, barred)
            trained = time.perf_counter()
            if self._suffices(taken):
                stepped = self._stepped(state, taken, number)
                if stepped:
                    break
                taken, worst = taken.without_the_largest()
                barred.add(worst)
            earlier += taken.turns
        else:
            raise QuorumError(_too_few(number, taken.turns, self.settings, state.suspect))
        done = dict.fromkeys((t.client for t in taken.accepted), number)
        state = replace(
            stepped,
            round=number,
            trained={**state.trained, **done},
            observed={client: of for client, of in observed.items() if client in done},
            sent={client: of for client, of in sent.items() if client in done},
            suspect=state.suspect or taken.suspect(number),
        )
        validation, test = self.evaluate(state)
        seconds = {"train": trained - started, "evaluate": time.perf_counter() - trained}
        return state, RoundRecord(number, taken.turns, validation, test, seconds, earlier)

    def _suffices(self, taken: Taken) -> bool:
        good = len(taken.accepted)
        return good >= min(self.settings.quorum, self.settings.cohort(len(self.roster)))

    def evaluate(self, state: ServerState) -> tuple[Metrics, Metrics]:
        """Evaluate the global model on the validation and on the test rows, if it is time."""
        if state.round and not self.settings.evaluation.global_model:
            return None, None
        due = state.round % self.settings.evaluation.every == 0
        if not due and state.round != self.settings.rounds:
            return None, None
        download = _whole(state.exported)
        return (
            self._count(state.round, "validation", self.validation_rows, download),
            self._count(state.round, "test", self.test_rows, download),
        )

    def evaluate_clients(
        self, state: ServerState, rows: Mapping[str, int], start: ServerModel
    ) -> Iterator[tuple[str, Metrics, Metrics, Metrics]]:
        """Yield each client's metrics on its own test rows: before, global and personal model.

        Either is None where it is not evaluated: a model that the settings leave out, the
        personal one of a client that has not trained, or where the client could not: that is
        told to ``on_failure``.

        Args:
            state: whose model is the global one.
            rows: client -> number of its own test rows; clients without any are left out.
            start: the model before round 1.
        """
        before, download = _whole(start), _whole(state.exported)
        clients = [client for client in self.roster if rows[client]]
        judged = self.settings.evaluation.global_model

        def tasks() -> Iterator[EvaluateTask]:
            for client in clients:
                last = state.trained.get(client)
                id = TaskId(self.settings.name, last or 0, client)
                yield EvaluateTask(id, "client", before, 0, rows[client])
                if judged:
                    yield EvaluateTask(id, "client", download, 0, rows[client])
                if last is not None:
                    yield EvaluateTask(id, "client", None, 0, rows[client])

        answers = self.engine.run(tasks())
        for client in clients:
            id = TaskId(self.settings.name, state.trained.get(client, 0), client)
            first = self._own_metrics(id, next(answers), rows[client])
            shared = self._own_metrics(id, next(answers), rows[client]) if judged else None
            personal = None
            if client in state.trained:
                personal = self._own_metrics(id, next(answers), rows[client])
            yield client, first, shared, personal

    def _own_metrics(self, id: TaskId, answer: object, rows: int) -> Metrics:
        if isinstance(answer, Counted):
            reason = count_refusal(answer, id, rows)
            if reason is None:
                return pooled_metrics([answer])
        else:
            reason = _instead(answer)
        self.on_failure(Turn(id.client, 0, failed=f"its own test rows: {reason}"))
        return None

    def _attempt(
        self, state: ServerState, number: int, attempt: int, barred: Collection[str]
    ) -> tuple[Taken, Observed, Sent]:
        rate = learning_rate(self.settings.training, number, self.settings.rounds)
        rule = self.aggregator.local(number)
        cohort = [c for c in self._cohort(number, attempt) if c not in barred]
        examples = self.engine.roster()
        asked: list[TrainTask] = []

        def tasks() -> Iterator[TrainTask]:
            for client in cohort:
                id = TaskId(self.settings.name, number, client, attempt)
                slots, last = state.plan[client], state.trained.get(client)
                current = last == number - 1 and state.planned < number - 1
                download = self._download(state, client, slots, rule, current=current)
                own = {m: slots[m] for m in download.adapter} if rule.view == "all" else None
                asked.append(TrainTask(id, download, rate, own, last))
                yield asked[-1]

        fold = self.aggregator.fold
        if self.aggregator.expecting:
            plans = [state.plan[c] for c in cohort]
            plans += [self.cut.slots(plan) for plan in plans] if self.cut else []
            fold = self.aggregator.expecting(state.model, plans)
        intake = Intake(fold, state.model, self.settings.norm_bound)
        observed: dict[str, dict[str, tuple[list[int], list[float]]]] = {}
        sent: dict[str, dict[str, int]] = {}
        for done, answer in enumerate(self.engine.run(tasks()), start=1):
            task = asked.pop(0)
            client = task.id.client
            expected = _expected(state.model.adapter, state.plan[client], rule)
            cut = {m: self.cut.rank(m, f.rank) for m, f in expected.items()} if self.cut else {}
            turn = turn_of(task, answer, expected, examples[client], cut, observes=self.observes)
            intake.take(task, turn, answer)
            if self.cut and turn.accepted and isinstance(answer, Update):
                sent[client] = {m: f.rank for m, f in answer.adapter.items()}
            if self.observes and turn.accepted and isinstance(answer, Update):
                observed[client] = {
                    m: (expected[m].slots.tolist(), numbers.tolist())
                    for m, numbers in answer.observed.items()
                }
            self.on_turn(client, done, len(cohort))
        return intake.finish(), observed, sent

    def _download(
        self,
        state: ServerState,
        client: str,
        slots: Mapping[str, Tensor],
        rule: LocalRule,
        *,
        current: bool,
    ) -> Download:
        adapter = slots_sent(state.model.adapter, slots, rule, current=current)
        # who trained in a round has the base of the round before
        since = max(0, state.trained.get(client, 1) - 1)
        base = state.model.base.patch(since) if state.model.base else None
        return Download(adapter, state.model.extras, base)

    def _stepped(self, state: ServerState, taken: Taken, number: int) -> ServerState | None:
        """Aggregate, and let the server's optimiser step there; start dead slots anew.

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
            most = self.settings.average
            if most:
                average = averaged(state.average, model, number, most, self.buffers)
        except torch.linalg.LinAlgError:  # type: ignore[attr-defined] # SVD of infinite numbers
            return None
        if not is_finite(model, average, memory=memory):
            return None
        return replace(state, model=model, memory=memory, average=average)

    def _cohort(self, number: int, attempt: int) -> list[str]:
        size = self.settings.cohort(len(self.roster))
        rng = numpy_stream(self.settings.seed, "cohort", number, attempt)
        drawn = sorted(rng.choice(len(self.roster), size, replace=False))
        return [self.roster[place] for place in drawn]

    def _restarted(self, model: ServerModel, number: int) -> ServerModel:
        """Draw what clients draw for themselves, or just the slots that are dead."""
        fresh = self.aggregator.local(number + 1).absent == "fresh"

        def restart(module: str, factors: Factors) -> Factors:
            if fresh:
                shape = factors.a.shape[1], len(factors.b)
                return start_factors(shape, factors.rank, self.settings.seed, module, number)
            generator = torch.Generator().manual_seed(
                derive(self.settings.seed, "revive", number, module)
            )
            return revive_dead_slots(factors, generator)

        return replace(model, adapter={m: restart(m, f) for m, f in model.adapter.items()})

    def _count(
        self, number: int, part: Literal["validation", "test"], rows: int, download: Download
    ) -> Metrics:
        id = TaskId(self.settings.name, number, "")
        tasks = (
            EvaluateTask(id, part, download, start, min(start + EVALUATION_BLOCK, rows))
            for start in range(0, rows, EVALUATION_BLOCK)
        )
        return _metrics(list(self.engine.run(tasks)))


def _whole(model: ServerModel) -> Download:
    return Download(model.adapter, model.extras, model.base.whole() if model.base else None)


def _expected(adapter: Adapter, slots: Mapping[str, Tensor], rule: LocalRule) -> Adapter:
    """Return factors of the names, shapes, types and slots that an update must have."""
    return {
        module: adapter[module].sized(own).only(rule.sends)
        for module, own in slots.items()
        if own.numel()
    }


def learning_rate(training: TrainingSettings, number: int, rounds: int) -> float:
    """Return the learning rate of round ``number`` (from 1) of ``rounds``."""
    gone = (number - 1) / rounds
    if training.schedule == "linear":
        return training.learning_rate * (1 - gone)
    if training.schedule == "cosine":
        return training.learning_rate * (1 + math.cos(math.pi * gone)) / 2
    return training.learning_rate


def _metrics(answers: Sequence[object]) -> Metrics:
    for answer in answers:
        if not isinstance(answer, Counted):
            raise TrainingError(f"evaluation failed: {getattr(answer, 'reason', answer)}")
    return pooled_metrics([a for a in answers if isinstance(a, Counted)])


def _instead(answer: object) -> str:
    """Say what came instead of the answer: a failure's reason, or a message of another type."""
    return brief(getattr(answer, "reason", f"sent {type(answer).__name__}"))


def _too_few(number: int, turns: Sequence[Turn], settings: Settings, suspect: str | None) -> str:
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
        f"round {number}: {good} good updates of {len(turns)} in {settings.attempts} attempts, "
        f"the quorum is {settings.quorum}; {shown}{before}"
    )
