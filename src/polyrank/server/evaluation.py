"""Evaluate models on the server's own rows, and on test rows of each client."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

from polyrank.aggregators.aggregator import ServerModel
from polyrank.errors import TrainingError
from polyrank.protocol.engine import Engine
from polyrank.protocol.messages import Counted, Download, EvaluateTask, ExamineTask, Failure, TaskId
from polyrank.server.asking import asked
from polyrank.server.downloads import judged, whole
from polyrank.server.guards import count_refusal
from polyrank.server.metrics import pooled_metrics
from polyrank.server.round_record import MaybeMetrics, Turn, instead
from polyrank.server.rules import Rules
from polyrank.server.state import ServerState

BLOCK = 2500  # rows of one task

Examine: TypeAlias = Callable[[Iterable[ExamineTask]], Iterator[Counted | Failure]]


@dataclass(frozen=True)
class ServerEvaluation:
    """Evaluates the global model on the server's own rows.

    Args:
        rules: of the run.
        examine: counts answers on the server's rows, in the order of the tasks.
        validation_rows: number of validation rows.
        test_rows: number of test rows.
        every: rounds from one evaluation to the next; the last round always has one.
        after_training: whether the global model is evaluated after training too.
    """

    rules: Rules
    examine: Examine
    validation_rows: int
    test_rows: int
    every: int = 1
    after_training: bool = True

    def evaluate(self, state: ServerState) -> tuple[MaybeMetrics, MaybeMetrics]:
        """Return validation and test metrics; None for each in a round without evaluation."""
        if not self.due(state.round):
            return None, None
        download = judged(state, self.rules)
        return (
            self._count(state.round, "validation", self.validation_rows, download),
            self._count(state.round, "test", self.test_rows, download),
        )

    def due(self, round: int) -> bool:
        """Whether the global model is evaluated after a round."""
        if round and not self.after_training:
            return False
        return round % self.every == 0 or round == self.rules.rounds

    def _count(
        self, number: int, part: Literal["validation", "test"], rows: int, download: Download
    ) -> MaybeMetrics:
        id = TaskId(self.rules.run, number, "")
        tasks = (
            ExamineTask(id, part, download, start, min(start + BLOCK, rows))
            for start in range(0, rows, BLOCK)
        )
        counted = []
        for answer in self.examine(tasks):
            if isinstance(answer, Failure):
                raise TrainingError(f"evaluation failed: {answer.reason}")
            counted.append(answer)
        return pooled_metrics(counted)


@dataclass(frozen=True)
class OwnMetrics:
    """Metrics of three models on one client's own test rows; None for one that is not evaluated.

    Args:
        client: whose rows.
        before: of the model before round 1.
        shared: of the global model.
        personal: of the client's own, as its last training left it.
    """

    client: str
    before: MaybeMetrics
    shared: MaybeMetrics
    personal: MaybeMetrics


@dataclass(frozen=True)
class ClientEvaluation:
    """Has clients evaluate models on test rows of their own.

    Args:
        rules: of the run.
        engine: reaches the clients.
        rows: client -> number of its own test rows; those without any are left out.
        shared: whether the global model is evaluated.
        on_failure: told of each evaluation that failed, or whose counts were refused.
    """

    rules: Rules
    engine: Engine
    rows: Mapping[str, int]
    shared: bool = True
    on_failure: Callable[[Turn], None] = lambda turn: None

    def evaluate(
        self, state: ServerState, start: ServerModel, roster: Sequence[str]
    ) -> Iterator[OwnMetrics]:
        """Yield each client's metrics, in the order of the roster.

        Args:
            state: whose model is the global one.
            start: the model before round 1.
            roster: the clients.
        """
        before, now = whole(start), judged(state, self.rules)
        clients = [client for client in roster if self.rows.get(client)]

        def tasks() -> Iterator[EvaluateTask]:
            for client in clients:
                last = state.trained.get(client)
                id = TaskId(self.rules.run, last or 0, client)
                yield EvaluateTask(id, before)
                if self.shared:
                    yield EvaluateTask(id, now)
                if last is not None:
                    yield EvaluateTask(id, None)

        answers = asked(self.engine.run, tasks())
        for client in clients:
            first = self._metrics(*next(answers))
            shared = self._metrics(*next(answers)) if self.shared else None
            personal = self._metrics(*next(answers)) if client in state.trained else None
            yield OwnMetrics(client, first, shared, personal)

    def _metrics(self, task: EvaluateTask, answer: object) -> MaybeMetrics:
        client = task.id.client
        if isinstance(answer, Counted):
            reason = count_refusal(answer, task.id, self.rows[client])
            if reason is None:
                return pooled_metrics([answer])
        else:
            reason = instead(answer)
        self.on_failure(Turn(client, 0, failed=f"its own test rows: {reason}"))
        return None
