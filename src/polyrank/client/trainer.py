"""What a client does: train its slots, measure its criteria, count its answers.

A ``Trainer`` lives in each process that stands in for clients. It holds one model, the
examples, and who owns which rows; each task loads what it needs into the model.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from polyrank.aggregators import AGGREGATORS
from polyrank.aggregators.local_rule import LocalRule
from polyrank.allocators import ALLOCATORS
from polyrank.causes import told
from polyrank.client.activations import activation_spectra
from polyrank.client.adapting import wrap
from polyrank.client.features import feature_sums
from polyrank.client.probing import losses_of, probe_batches, probe_training
from polyrank.client.state import ClientState, Start
from polyrank.client.training import Outcome, choose_device, count_answers, fit, right_and_all
from polyrank.criteria import ClientView, measure, needs_probe, noisy_view
from polyrank.disk.checkpoint import ClientStore
from polyrank.inputs.arrays import ExampleSet
from polyrank.lora.factors import ALL, Adapter, Tensors, shared_adapter
from polyrank.models import MODELS
from polyrank.models.weights import put_weights, share_weights
from polyrank.peft_bridge import Bridge
from polyrank.protocol.messages import (
    Answer,
    Counted,
    Download,
    EvaluateTask,
    Failure,
    Measured,
    ProbeTask,
    Task,
    TaskId,
    TrainTask,
    Update,
)
from polyrank.seeding import derive, numpy_stream
from polyrank.settings.ranges import cut_of
from polyrank.settings.schema import Settings, TrainingSettings

SPECTRA_ROWS, SPECTRA_BATCH = 512, 64


@dataclass(frozen=True)
class Workload:
    """All that a process needs to stand in for any client; the tensors may be shared.

    Args:
        settings: of the run.
        base: state of the frozen model.
        train: the rows that clients own; the server's validation rows are among them.
        test: the test rows.
        validation: (v,) row numbers in ``train``.
        clients: client -> its training rows and its own test rows, numbers in ``train``.
        store: folder for what clients keep, or None to keep nothing.
        classes: number of labels.
        start: the adapter that the run began with, if it did not begin with new factors.
    """

    settings: Settings
    base: Tensors
    train: ExampleSet
    test: ExampleSet
    validation: Tensor
    clients: Mapping[str, tuple[Tensor, Tensor]]
    store: Path | None
    classes: int
    start: Adapter | None = None

    def share_memory(self) -> "Workload":
        """Move the tensors to memory that other processes can map."""
        return replace(
            self,
            base=share_weights(self.base),
            train=self.train.share_memory(),
            test=self.test.share_memory(),
            validation=self.validation.share_memory_(),
            start=self.start and shared_adapter(self.start),
        )


def build_bridge(
    settings: Settings,
    base: Tensors,
    input_shape: tuple[int, ...],
    classes: int,
    device: torch.device,
) -> Bridge:
    """Build the model, put the base weights in without a copy, and wrap it."""
    model = MODELS.build(settings.model).shell(input_shape, classes)
    put_weights(model, base)
    return wrap(settings, model.to(device))


class Trainer:
    """Performs tasks in this process."""

    def __init__(self, workload: Workload) -> None:
        self.workload = workload
        self.settings = workload.settings
        self.device = choose_device(self.settings.device)
        self.bridge = build_bridge(
            self.settings, workload.base, workload.train.input_shape, workload.classes, self.device
        )
        shapes = {n: (s.d_in, s.d_out) for n, s in self.bridge.shapes.items()}
        self.state = ClientState(
            ClientStore(workload.store) if workload.store else None,
            Start(self.settings.seed, shapes, workload.start),
        )
        self.aggregator = AGGREGATORS.build(self.settings.aggregator)
        self.cut = cut_of(self.settings, self.bridge.shapes)
        self.observer = ALLOCATORS.build(self.settings.allocator).needs.observes

    def perform(self, task: Task) -> Answer:
        """Carry out one task; an error in it becomes a ``Failure`` with its reason."""
        todo: dict[type, Callable[[Any], Answer]] = {
            TrainTask: self._train,
            ProbeTask: self._probe,
            EvaluateTask: self._evaluate,
        }
        try:
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(self._seed("torch", task.id))
                return todo[type(task)](task)
        except Exception as error:
            return Failure(task.id, told(error))

    def _train(self, task: TrainTask) -> Update:
        rows, _ = self.workload.clients[task.id.client]
        outcome = self._fit(task, rows, self.settings.training)
        adapter, extras = self.bridge.read()
        observed = self._observed(adapter)
        if self.cut:
            adapter = self.cut.apply(self.bridge.loaded, adapter)
        if self.state.store:
            whole = self.bridge.with_frozen(adapter)
            self.state.store.save(task.id.client, task.id.round, whole, extras)
        sends = self.aggregator.local(task.id.round).sends
        return Update(
            task.id,
            {module: factors.only(sends) for module, factors in adapter.items()},
            extras,
            examples=len(rows),
            loss=outcome.epoch_losses[-1],
            steps=outcome.steps,
            seconds=outcome.seconds,
            observed=observed,
        )

    def _observed(self, adapter: Adapter) -> dict[str, Tensor]:
        """Return what the allocator's observer says of each slot, float32 (r,)."""
        if self.observer is None:
            return {}
        before = self.bridge.loaded
        return {m: self.observer(before[m], f).to(torch.float32) for m, f in adapter.items()}

    def _probe(self, task: ProbeTask) -> Measured:
        rows, _ = self.workload.clients[task.id.client]
        if task.wanted.head:
            return Measured(task.id, {}, 0, features=self._features(task, rows))
        labels = self.workload.train.labels[rows]
        counts = np.bincount(labels.numpy(), minlength=self.workload.classes)
        outcome, example_losses, token_losses = Outcome(), None, None
        if needs_probe(task.wanted.criteria):
            outcome, example_losses, token_losses = self._trained_probe(task, rows)
        view = ClientView(
            label_counts=counts.astype(np.float64),
            examples=float(len(rows)),
            epoch_losses=np.array(outcome.epoch_losses) if outcome.epoch_losses else None,
            example_losses=example_losses,
            token_losses=token_losses,
            token_counts=self._token_counts(rows),
        )
        if self.settings.probe.epsilon is not None:
            rng = numpy_stream(self.settings.seed, "count noise", task.id.client)
            view = noisy_view(view, self.settings.probe.epsilon, rng)
        criteria = measure(task.wanted.criteria, view)
        return Measured(task.id, criteria, outcome.steps, outcome.seconds, self._spectra(task))

    def _trained_probe(
        self, task: ProbeTask, rows: Tensor
    ) -> tuple[Outcome, np.ndarray, np.ndarray | None]:
        """Train the probe; return its losses while it trained, and by row and token after.

        Those after are of as many rows as it was trained on, or of all if there are fewer.
        """
        training, steps = probe_training(self.settings.training), self.settings.probe.steps
        generator = torch.Generator().manual_seed(self._seed("probe", task.id))
        sample = rows[torch.randperm(len(rows), generator=generator)[: steps * training.batch_size]]
        batches = probe_batches(len(rows), steps, training.batch_size, generator)
        outcome = self._fit(task, rows, training, batches)
        model, examples = self.bridge.model, self.workload.train
        return outcome, *losses_of(model, examples, sample, self.device, training.autocast)

    def _spectra(self, task: ProbeTask) -> dict[str, list[float]]:
        """Explained-variance ratios of the base's modules, on a sample of the client's rows."""
        if not task.wanted.ratios:
            return {}
        rows, _ = self.workload.clients[task.id.client]
        generator = torch.Generator().manual_seed(self._seed("spectra", task.id))
        sample = rows[torch.randperm(len(rows), generator=generator)[:SPECTRA_ROWS]]
        self._load(task)
        modules = {name: layer.get_base_layer() for name, layer in self.bridge.layers.items()}
        batches = (self.workload.train.batch(part)[0] for part in sample.split(SPECTRA_BATCH))
        return activation_spectra(self.bridge.model, modules, batches, keep=task.wanted.ratios)

    def _features(self, task: ProbeTask, rows: Tensor) -> Tensors:
        self._load(task)
        return feature_sums(
            self.bridge.model,
            task.wanted.head,
            self.workload.train,
            rows,
            self.workload.classes,
            products=task.wanted.products,
            autocast=self.settings.training.autocast,
        )

    def _token_counts(self, rows: Tensor) -> np.ndarray | None:
        counts = self.workload.train.token_counts(rows)
        return None if counts is None else counts.numpy().astype(np.float64)

    def _evaluate(self, task: EvaluateTask) -> Counted:
        download, id = task.download, task.id
        if download is None:
            download = Download(*self.state.own(id.client, id.round))
            change = self.state.own_base(id.round - 1) if self.aggregator.changes_base else {}
        else:
            change = download.base.totals if download.base else {}
        self.bridge.load(download.adapter, download.extras, change=change)
        examples, rows = self._part(task)
        counts, loss = count_answers(
            self.bridge.model,
            examples,
            rows[task.start : task.stop],
            self.workload.classes,
            self.device,
            self.settings.training.autocast,
        )
        if task.part == "client" and self.settings.probe.epsilon is not None:
            counts = right_and_all(counts)  # the rows of the confusion are the label counts
        return Counted(task.id, counts, loss)

    def _part(self, task: EvaluateTask) -> tuple[ExampleSet, Tensor]:
        if task.part == "test":
            return self.workload.test, torch.arange(len(self.workload.test))
        if task.part == "validation":
            return self.workload.train, self.workload.validation
        return self.workload.train, self.workload.clients[task.id.client][1]

    def _fit(
        self,
        task: TrainTask | ProbeTask,
        rows: Tensor,
        training: TrainingSettings,
        schedule: Iterable[Sequence[Tensor]] | None = None,
    ) -> Outcome:
        rule = self._load(task)
        generator = torch.Generator().manual_seed(self._seed("batches", task.id))
        pairs, added = self.bridge.factor_pairs, None if schedule else rule.penalty
        return fit(
            self.bridge.model,
            self.bridge.trainable(),
            self.workload.train,
            rows,
            training,
            task.learning_rate,
            generator,
            head=self.bridge.extra_parameters(),
            schedule=schedule,
            penalty=(lambda: added(pairs())) if added else None,
        )

    def _load(self, task: TrainTask | ProbeTask) -> LocalRule:
        """Load what was sent, and what the client has itself, into the model."""
        probing = isinstance(task, ProbeTask)
        round = task.id.round + probing
        rule = self.aggregator.local(round)
        came = task.download
        adapter = self.state.completed(came.adapter, rule, task.id.client, round, task.last)
        frozen: Adapter = {}
        if isinstance(task, TrainTask) and task.slots is not None:
            frozen = {m: f.without(task.slots[m]) for m, f in adapter.items()}
            adapter = {m: f.take(task.slots[m]) for m, f in adapter.items()}
        self.bridge.load(
            adapter,
            came.extras,
            frozen=frozen,
            trains=ALL if probing else rule.trains,
            change=self.state.base(came.base, keep=not probing),
        )
        return rule

    def _seed(self, purpose: str, id: TaskId) -> int:
        return derive(self.settings.seed, purpose, id.round, id.client, id.attempt)
