"""Judge the global model cut to its first slots, on rows that nobody trains on.

On rows of the server's own; where it has none, on test rows of some clients, each of which is
sent the whole model once and tells a sum of losses for every cut.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

from polyrank.aggregators.aggregator import ServerModel
from polyrank.errors import SettingsError, TrainingError
from polyrank.lora.factors import first_slots
from polyrank.protocol.counts import Confusion
from polyrank.protocol.engine import Engine
from polyrank.protocol.messages import Counted, EvaluateTask, ExamineTask, Failure, TaskId
from polyrank.seeding import numpy_stream
from polyrank.server.asking import asked
from polyrank.server.downloads import whole
from polyrank.server.evaluation import Examine
from polyrank.server.guards import count_refusal
from polyrank.server.measuring import Costs
from polyrank.server.metrics import metrics_of
from polyrank.server.round_record import Turn, instead
from polyrank.server.rules import Rules


@dataclass(frozen=True)
class CutLosses:
    """What the global model loses where it is cut.

    Args:
        losses: number of slots -> mean loss of the model cut to its first so many.
        rows: on how many rows.
        held_by: whose rows, ``"server"`` or ``"clients"``.
        cost: bytes, where clients were asked.
    """

    losses: Mapping[int, float] = field(default_factory=dict)
    rows: int = 0
    held_by: Literal["server", "clients"] = "server"
    cost: Costs = field(default_factory=Costs)


@dataclass(frozen=True)
class CutJudge:
    """Judges the cut global model.

    Args:
        rules: of the run; as many clients are asked as take part in a round.
        examine: counts answers on the server's rows, in the order of the tasks.
        rows: how many rows the server has for it.
        engine: reaches the clients.
        client_rows: client -> number of its own test rows, in the order of all sums.
        on_failure: told of each client that could not, or whose sums were refused.
    """

    rules: Rules
    examine: Examine
    rows: int
    engine: Engine
    client_rows: Mapping[str, int]
    on_failure: Callable[[Turn], None] = lambda turn: None

    @property
    def able(self) -> bool:
        """Whether anybody has rows to judge on."""
        return self.rows > 0 or any(self.client_rows.values())

    def check_rows(self, allocator: str) -> None:
        """Check that anybody has rows to judge on.

        Raises:
            SettingsError: nobody has.
        """
        if not self.able:
            raise SettingsError(
                f"allocator {allocator!r} reads off the losses of the cut global model how many "
                "slots it needs, on rows that nobody trains on: expected data.validation above 0, "
                "or data.client_test above 0 and 'examples' in profile, got neither"
            )

    def judge(self, model: ServerModel, round: int, cuts: Sequence[int]) -> CutLosses:
        """Return the loss of a model cut to each number of slots, in rising order.

        Args:
            model: the global one.
            round: rounds finished.
            cuts: numbers of slots; none finds nothing.

        Raises:
            TrainingError: the server's own evaluation failed.
        """
        wanted = sorted(set(cuts))
        if not wanted:
            return CutLosses()
        return self._own(model, round, wanted) if self.rows else self._asked(model, round, wanted)

    def _own(self, model: ServerModel, round: int, cuts: Sequence[int]) -> CutLosses:
        id = TaskId(self.rules.run, round, "")

        def tasks() -> Iterator[ExamineTask]:
            for slots in cuts:
                cut = replace(model, adapter=first_slots(model.adapter, slots))
                yield ExamineTask(id, "cuts", whole(cut), 0, self.rows)

        losses = {}
        for slots, answer in zip(cuts, self.examine(tasks()), strict=True):
            if isinstance(answer, Failure):
                raise TrainingError(f"evaluation of a cut model failed: {answer.reason}")
            losses[slots] = metrics_of(answer.counts, answer.loss)["loss"]
        return CutLosses(losses, self.rows)

    def _asked(self, model: ServerModel, round: int, cuts: Sequence[int]) -> CutLosses:
        most = max((f.rank for f in model.adapter.values()), default=0)
        download = whole(model, self.rules.compression)
        fewer, cost = [k for k in cuts if k < most], Costs()
        tasks = [
            EvaluateTask(TaskId(self.rules.run, round, client), download, fewer)
            for client in self._drawn(round)
        ]
        sums, counted, rows = [0.0] * (len(fewer) + 1), 0, 0
        patience = self.rules.patience(len(self.client_rows))
        for task, answer in asked(self.engine.run, tasks, patience):
            cost.down += download.nbytes
            if not (good := self._checked(task, answer)):
                continue
            cost.up += good.nbytes
            sums = [x + y for x, y in zip(sums, (*good.losses, good.loss), strict=True)]
            counts = good.counts
            counted += (counts.correct if isinstance(counts, Confusion) else counts).all
            rows += self.client_rows[task.id.client]
        if not counted:
            return CutLosses(held_by="clients", cost=cost)
        means = [total / counted for total in sums]
        losses = {k: means[fewer.index(k) if k < most else -1] for k in cuts}
        return CutLosses(losses, rows, "clients", cost)

    def _drawn(self, round: int) -> list[str]:
        """Draw as many clients with test rows as take part in a round, in the order of sums."""
        able = [client for client, rows in self.client_rows.items() if rows]
        rng = numpy_stream(self.rules.seed, "cuts", round)
        size = min(len(able), self.rules.cohort(len(self.client_rows)))
        return [able[place] for place in sorted(rng.choice(len(able), size, replace=False))]

    def _checked(self, task: EvaluateTask, answer: object) -> Counted | None:
        client, reason = task.id.client, instead(answer)
        if isinstance(answer, Counted):
            reason = count_refusal(answer, task.id, self.client_rows[client], len(task.cuts)) or ""
            if not reason:
                return answer
        said = f"its own test rows, for the cut model: {reason}"
        self.on_failure(Turn(client, 0, failed=said))
        return None
