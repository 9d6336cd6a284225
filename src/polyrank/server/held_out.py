"""Judge the global model on rows that clients hold back, where these choose the best round.

Each client is sent the model and tells how many of its own test rows it answers rightly, and a
sum of losses; what they tell is added up.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from polyrank.protocol.counts import Confusion
from polyrank.protocol.engine import Engine
from polyrank.protocol.messages import Counted, EvaluateTask, TaskId
from polyrank.server.asking import asked
from polyrank.server.downloads import judged
from polyrank.server.guards import count_refusal
from polyrank.server.measuring import Costs
from polyrank.server.metrics import pooled_metrics
from polyrank.server.round_record import MaybeMetrics, Turn, instead
from polyrank.server.rules import Rules
from polyrank.server.state import ServerState


@dataclass(frozen=True)
class HeldOut:
    """Judges the global model on clients' rows.

    Args:
        rules: of the run.
        engine: reaches the clients.
        client_rows: client -> number of its own test rows, in the order of all sums.
        classes: number of labels.
        on_failure: told of each client that could not, or whose counts were refused.
    """

    rules: Rules
    engine: Engine
    client_rows: Mapping[str, int]
    classes: int
    on_failure: Callable[[Turn], None] = lambda turn: None

    def judge(self, state: ServerState) -> tuple[MaybeMetrics, Costs]:
        """Return the metrics over all rows that were answered, None without any; and the bytes."""
        download, cost = judged(state, self.rules, self.rules.compression), Costs()
        able = [client for client, rows in self.client_rows.items() if rows]
        tasks = [
            EvaluateTask(TaskId(self.rules.run, state.round, client), download) for client in able
        ]
        counted: list[Counted] = []
        patience = self.rules.patience(len(self.client_rows))
        for task, answer in asked(self.engine.run, tasks, patience):
            cost.down += download.nbytes
            reason = self._refusal(task, answer, counted)
            if reason is None and isinstance(answer, Counted):
                cost.up += answer.nbytes
                counted.append(answer)
            else:
                said = f"its own test rows, for the best round: {reason}"
                self.on_failure(Turn(task.id.client, 0, failed=said))
        return pooled_metrics(counted), cost

    def _refusal(self, task: EvaluateTask, answer: object, before: list[Counted]) -> str | None:
        """Return why an answer cannot be added to those before, or None if it can."""
        if not isinstance(answer, Counted):
            return instead(answer)
        if reason := count_refusal(answer, task.id, self.client_rows[task.id.client]):
            return reason
        counts = answer.counts
        if isinstance(counts, Confusion) and len(counts.counts) != self.classes:
            return f"counts {tuple(counts.counts.shape)}: expected {self.classes} labels"
        if before and type(counts) is not type(before[0].counts):
            kinds = type(before[0].counts).__name__, type(counts).__name__
            return "counts: expected {} as from the others, got {}".format(*kinds)
        return None
