"""The one model of a process, loaded and trained anew for each task."""

from collections.abc import Iterable, Sequence
from pathlib import Path

from torch import Generator, Tensor

from polyrank.aggregators import AGGREGATORS
from polyrank.aggregators.local_rule import LocalRule
from polyrank.allocators import WatchingObserver
from polyrank.client.state import ClientState, Start
from polyrank.disk.checkpoint import ClientStore
from polyrank.inputs.arrays import RowView
from polyrank.learning.blueprint import Blueprint
from polyrank.learning.counting import count_answers
from polyrank.learning.training import Fitted, fit
from polyrank.lora.factors import ALL, Adapter, first_slots
from polyrank.peft_bridge import Bridge
from polyrank.protocol.counts import Counts
from polyrank.protocol.messages import EvaluateTask, ProbeTask, TaskId, TrainTask
from polyrank.seeding import derive
from polyrank.settings.training import TrainingSettings


class LoadedModel:
    """The model of this process; every task loads what it needs and leaves nothing behind.

    Args:
        blueprint: of the model.
        bridge: to the model.
        store: folder for what clients keep, or None to keep nothing.
    """

    def __init__(self, blueprint: Blueprint, bridge: Bridge, store: Path | None) -> None:
        self.blueprint = blueprint
        self.settings = blueprint.settings
        self.device = blueprint.device
        self.bridge = bridge
        shapes = {n: (s.d_in, s.d_out) for n, s in bridge.shapes.items()}
        form = self.settings.adapter.parametrisation
        start = Start(self.settings.seed, shapes, blueprint.start, form)
        self.state = ClientState(ClientStore(store) if store else None, start)
        self.aggregator = AGGREGATORS.build(self.settings.aggregator)
        self.held: Adapter = {}

    def load(self, task: TrainTask | ProbeTask) -> LocalRule:
        """Load what was sent, and what the client has itself, into the model."""
        probing = isinstance(task, ProbeTask)
        round = task.id.round + probing
        rule = self.aggregator.local(round)
        sent, extras = task.download.opened()
        if task.download.steps and self.aggregator.rejoin:
            sent = self.state.caught_up(
                sent, task.download.steps, task.id.client, task.last, self.aggregator.rejoin
            )
        self.held = sent
        adapter = self.state.completed(sent, rule, task.id.client, round, task.last)
        frozen: Adapter = {}
        if isinstance(task, TrainTask) and task.slots is not None:
            if task.change:
                adapter = self.state.with_spare(adapter, task.slots, round)
            frozen = {m: f.without(task.slots[m]) for m, f in adapter.items()}
            adapter = {m: f.take(task.slots[m]) for m, f in adapter.items()}
        self.bridge.load(
            adapter,
            extras,
            frozen=frozen,
            trains=ALL if probing else rule.trains,
            change=self.state.base(task.download.base, keep=not probing),
        )
        return rule

    def fit(
        self,
        task: TrainTask | ProbeTask,
        rows: RowView,
        training: TrainingSettings,
        schedule: Iterable[Sequence[Tensor]] | None = None,
        watcher: WatchingObserver | None = None,
    ) -> Fitted:
        """Load a task's model and train it on some rows.

        Args:
            task: what to start from.
            rows: to train on.
            training: how.
            schedule: batches of places in ``rows`` in place of epochs, without the penalty.
            watcher: watches the training, for what the outcome has ``observed``.
        """
        rule = self.load(task)
        pairs, added = self.bridge.factor_pairs, None if schedule else rule.penalty
        return fit(
            self.bridge.model,
            self.bridge.trainable(),
            rows.examples,
            rows.numbers,
            training,
            training.learning_rate * task.rate,
            Generator().manual_seed(self.seed("batches", task.id)),
            head=self.bridge.extra_parameters(),
            schedule=schedule,
            penalty=(lambda: added(pairs())) if added else None,
            watch=watcher.watching(self.bridge.trained_parts()) if watcher else None,
        )

    def evaluate(self, task: EvaluateTask, rows: RowView) -> tuple[Counts, float, list[float]]:
        """Count the answers of a model that was sent, or of the client's own, on some rows.

        Returns:
            the counts; the sum of the losses; and that sum of the model cut to each of
            ``task.cuts``.
        """
        download, id = task.download, task.id
        if download is None:
            adapter, extras = self.state.own(id.client, id.round)
            change = self.state.own_base(id.round - 1) if self.aggregator.changes_base else {}
        else:
            adapter, extras = download.opened()
            change = download.base.totals if download.base else {}

        def loss_of_cut(slots: int) -> float:
            self.bridge.load(first_slots(adapter, slots), extras, change=change)
            return self._counted(rows)[1]

        self.bridge.load(adapter, extras, change=change)
        counts, loss = self._counted(rows)
        return counts, loss, [loss_of_cut(slots) for slots in task.cuts]

    def _counted(self, rows: RowView) -> tuple[Counts, float]:
        return count_answers(
            self.bridge.model,
            rows.examples,
            rows.numbers,
            self.blueprint.classes,
            self.device,
            self.settings.training.autocast,
        )

    def seed(self, purpose: str, id: TaskId) -> int:
        """Return the seed of what a task draws for one purpose."""
        return derive(self.settings.seed, purpose, id.round, id.client, id.attempt)
