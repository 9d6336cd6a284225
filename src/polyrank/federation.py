"""The round loop and the server's state; knows neither processes nor networks.

A round in eight steps: draw the cohort, cut each client's slots, send, train, check what
comes back, fold it, finish the next model, evaluate it.
"""

import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Literal, TypeAlias

import torch
from torch import Tensor

from polyrank.adapter import Factors, new_factors, prefix, revive_dead_slots
from polyrank.aggregators.aggregator import Aggregator, ServerModel
from polyrank.errors import QuorumError, TrainingError
from polyrank.messages import (
    Counted,
    Download,
    Engine,
    EvaluateTask,
    Measured,
    ProbeTask,
    TaskId,
    TrainTask,
    Update,
)
from polyrank.metrics import pooled_metrics
from polyrank.round_record import Metrics, RoundRecord, Turn, turn_of
from polyrank.seeding import derive, numpy_stream
from polyrank.settings import Settings, TrainingSettings

EVALUATION_BLOCK = 2500

Plan: TypeAlias = Mapping[str, Mapping[str, Tensor]]


@dataclass(frozen=True)
class ServerState:
    """All that the next round depends on.

    Args:
        model: the global model.
        plan: client -> module -> slots (r_k,).
        round: rounds finished.
        trained: client -> the last finished round in which its update was accepted.
    """

    model: ServerModel
    plan: Plan
    round: int = 0
    trained: Mapping[str, int] = field(default_factory=dict)


def start_factors(shape: tuple[int, int], slots: int, seed: int, module: str) -> Factors:
    """Draw a module's first factors; ``shape`` is (d_in, d_out)."""
    generator = torch.Generator().manual_seed(derive(seed, "factors", module))
    return new_factors(slots, *shape, generator)


@dataclass(frozen=True)
class Federation:
    """A federation: its settings, its aggregator, and the engine that reaches its clients.

    Args:
        settings: of the run.
        aggregator: what makes the next model.
        engine: where clients are.
        validation_rows: number of the server's validation rows.
        test_rows: number of test rows.
        on_turn: told of each client that has answered: its name, how many have, of how many.
    """

    settings: Settings
    aggregator: Aggregator
    engine: Engine
    validation_rows: int
    test_rows: int
    on_turn: Callable[[str, int, int], None] = lambda client, done, total: None

    @cached_property
    def roster(self) -> list[str]:
        """Clients, those with most examples first; every sum over clients has this order.

        Long trainings start first, so that no worker ends a round alone.
        """
        examples = self.engine.roster()
        return sorted(examples, key=lambda client: (-examples[client], client))

    def probe(self, model: ServerModel, ranks: Mapping[str, int]) -> list[Measured]:
        """Let every client measure its criteria, starting from ``model`` at small ranks.

        Raises:
            TrainingError: a client could not.
        """
        download = self.probe_download(model, ranks)
        rate = learning_rate(self.settings.training, 1, self.settings.rounds)
        names = tuple(self.settings.criteria)
        tasks = (
            ProbeTask(TaskId(self.settings.name, 0, client), download, rate, names)
            for client in self.roster
        )
        measured = []
        for answer in self.engine.run(tasks):
            if not isinstance(answer, Measured):
                raise TrainingError(
                    f"client {answer.id.client!r} could not measure its criteria: "
                    f"{getattr(answer, 'reason', answer)}"
                )
            measured.append(answer)
            self.on_turn(answer.id.client, len(measured), len(self.roster))
        return measured

    def probe_download(self, model: ServerModel, ranks: Mapping[str, int]) -> Download:
        """Return what a client is sent to probe from: the first slots of each module."""
        return self.aggregator.send(model, {module: prefix(r) for module, r in ranks.items()})

    def next_round(self, state: ServerState) -> tuple[ServerState, RoundRecord]:
        """Run one round.

        Raises:
            QuorumError: too few good updates, in every attempt; ``state`` is still good.
        """
        number = state.round + 1
        for attempt in range(self.settings.attempts):
            started = time.perf_counter()
            model, turns = self._attempt(state, number, attempt)
            trained = time.perf_counter()
            accepted = [t.client for t in turns if t.accepted]
            if len(accepted) >= min(self.settings.quorum, len(turns)):
                break
        else:
            raise QuorumError(_too_few(number, turns, self.settings))
        done = {**state.trained, **dict.fromkeys(accepted, number)}
        state = replace(state, model=model, round=number, trained=done)
        validation, test = self.evaluate(state)
        seconds = {"train": trained - started, "evaluate": time.perf_counter() - trained}
        return state, RoundRecord(number, turns, validation, test, seconds)

    def evaluate(self, state: ServerState) -> tuple[Metrics, Metrics]:
        """Evaluate the global model on the validation and on the test rows, if it is time."""
        due = state.round % self.settings.evaluation.every == 0
        if not due and state.round != self.settings.rounds:
            return None, None
        download = Download(state.model.adapter, state.model.extras)
        return (
            self._count(state.round, "validation", self.validation_rows, download),
            self._count(state.round, "test", self.test_rows, download),
        )

    def evaluate_clients(
        self, state: ServerState, rows: Mapping[str, int]
    ) -> Iterator[tuple[str, Metrics, Metrics]]:
        """Yield each client's metrics on its own test rows: global model, personal model.

        Args:
            state: whose model is the global one.
            rows: client -> number of its own test rows; clients without any are left out.
        """
        download = Download(state.model.adapter, state.model.extras)
        clients = [client for client in self.roster if rows[client]]

        def tasks() -> Iterator[EvaluateTask]:
            for client in clients:
                last = state.trained.get(client)
                id = TaskId(self.settings.name, last or 0, client)
                yield EvaluateTask(id, "client", download, 0, rows[client])
                if last is not None:
                    yield EvaluateTask(id, "client", None, 0, rows[client])

        answers = self.engine.run(tasks())
        for client in clients:
            shared = _metrics([next(answers)])
            personal = _metrics([next(answers)]) if client in state.trained else None
            yield client, shared, personal

    def _attempt(
        self, state: ServerState, number: int, attempt: int
    ) -> tuple[ServerModel, list[Turn]]:
        rate = learning_rate(self.settings.training, number, self.settings.rounds)
        cohort = self._cohort(number, attempt)
        sent: list[TrainTask] = []

        def tasks() -> Iterator[TrainTask]:
            for client in cohort:
                id = TaskId(self.settings.name, number, client, attempt)
                download = self.aggregator.send(state.model, state.plan[client])
                sent.append(TrainTask(id, download, rate))
                yield sent[-1]

        fold = self.aggregator.fold
        folded = fold.init(state.model)
        turns = []
        for answer in self.engine.run(tasks()):
            task = sent.pop(0)
            turn = turn_of(task, answer)
            if turn.accepted and isinstance(answer, Update):
                folded = fold.add(folded, answer)
            turns.append(turn)
            self.on_turn(turn.client, len(turns), len(cohort))
        model = fold.finish(folded, state.model) if any(t.accepted for t in turns) else state.model
        return self._revived(model, number), turns

    def _cohort(self, number: int, attempt: int) -> list[str]:
        size = len(self.roster)
        if self.settings.cohort_size:
            size = min(size, self.settings.cohort_size)
        elif self.settings.cohort_fraction:
            size = max(1, round(size * self.settings.cohort_fraction))
        rng = numpy_stream(self.settings.seed, "cohort", number, attempt)
        drawn = sorted(rng.choice(len(self.roster), size, replace=False))
        return [self.roster[place] for place in drawn]

    def _revived(self, model: ServerModel, number: int) -> ServerModel:
        def revive(module: str, factors: Factors) -> Factors:
            generator = torch.Generator().manual_seed(
                derive(self.settings.seed, "revive", number, module)
            )
            return revive_dead_slots(factors, generator)

        return replace(model, adapter={m: revive(m, f) for m, f in model.adapter.items()})

    def _count(
        self, number: int, part: Literal["validation", "test"], rows: int, download: Download
    ) -> Metrics:
        id = TaskId(self.settings.name, number, "")
        tasks = (
            EvaluateTask(id, part, download, start, min(start + EVALUATION_BLOCK, rows))
            for start in range(0, rows, EVALUATION_BLOCK)
        )
        return _metrics(list(self.engine.run(tasks)))


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


def _too_few(number: int, turns: Sequence[Turn], settings: Settings) -> str:
    good = sum(turn.accepted for turn in turns)
    reasons = {t.client: t.refused or t.failed for t in turns if not t.accepted}
    shown = "; ".join(f"client {c}: {reason}" for c, reason in list(reasons.items())[:5])
    return (
        f"round {number}: {good} good updates of {len(turns)} in {settings.attempts} attempts, "
        f"the quorum is {settings.quorum}; {shown}"
    )
