"""A client's side of every task: tell, measure, train, evaluate.

A ``Trainer`` lives in each process that stands in for clients. It holds one model, and what
each of its clients has; a task loads what it needs into the model.
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from polyrank.allocators import ALLOCATORS, WatchingObserver
from polyrank.causes import told
from polyrank.client.leaving import counted_from, profile_from, update_from
from polyrank.client.loaded_model import LoadedModel
from polyrank.client.measuring import measure_client
from polyrank.client.outgoing import Outgoing, outgoing, owes
from polyrank.client.site import Site
from polyrank.learning.blueprint import Blueprint
from polyrank.learning.training import Fitted
from polyrank.lora.factors import Adapter, Tensors
from polyrank.peft_bridge import Bridge
from polyrank.protocol.messages import (
    Answer,
    Counted,
    EvaluateTask,
    Failure,
    Measured,
    ProbeTask,
    Profile,
    ProfileTask,
    Task,
    TrainTask,
    Update,
)
from polyrank.settings.ranges import cut_of


class Trainer:
    """Performs the tasks of some clients in this process.

    Args:
        blueprint: of the model.
        sites: client -> what it has.
        store: folder for what clients keep, or None to keep nothing.
        bridge: to the model of this process, if there is one already.
    """

    def __init__(
        self,
        blueprint: Blueprint,
        sites: Mapping[str, Site],
        store: Path | None,
        bridge: Bridge | None = None,
    ) -> None:
        self.settings, self.sites = blueprint.settings, sites
        self.classes = blueprint.classes
        self.model = LoadedModel(blueprint, bridge or blueprint.build(), store)
        self.cut = cut_of(self.settings, self.model.bridge.shapes)
        self.observer = ALLOCATORS.build(self.settings.allocator).needs.observes

    def perform(self, task: Task) -> Answer:
        """Carry out one task; an error in it becomes a ``Failure`` with its reason."""
        todo: dict[type, Callable[[Any, Site], Answer]] = {
            ProfileTask: self._tell,
            ProbeTask: self._measure,
            TrainTask: self._train,
            EvaluateTask: self._evaluate,
        }
        try:
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(self.model.seed("torch", task.id))
                return todo[type(task)](task, self.sites[task.id.client])
        except Exception as error:
            return Failure(task.id, told(error))

    def _tell(self, task: ProfileTask, site: Site) -> Profile:
        return profile_from(task.id, site, self.classes, self.settings.probe.epsilon)

    def _measure(self, task: ProbeTask, site: Site) -> Measured:
        return measure_client(self.model, site, task)

    def _train(self, task: TrainTask, site: Site) -> Update:
        watcher = self.observer if isinstance(self.observer, WatchingObserver) else None
        outcome = self.model.fit(task, site.train, self.settings.training, watcher=watcher)
        bridge, store = self.model.bridge, self.model.state.store
        adapter, extras = bridge.read()
        observed = self._observed(adapter, outcome)
        if self.cut:
            adapter = self.cut.apply(bridge.loaded, adapter)
        leaves = self._outgoing(task, adapter, extras)
        if store:
            whole = bridge.with_frozen(adapter)
            keeps = task.change and task.change.keeps
            held = {m: f.cloned() for m, f in self.model.held.items()} if keeps else {}
            store.save(task.id.client, task.id.round, whole, extras, leaves.owed, held)
        return update_from(task.id, leaves, len(site.train), outcome, observed)

    def _outgoing(self, task: TrainTask, adapter: Adapter, extras: Tensors) -> Outgoing:
        """Choose what is sent, with what the last rounds have left."""
        aggregator, state = self.model.aggregator, self.model.state
        sends, keeps = aggregator.local(task.id.round).sends, aggregator.keeps_slots
        owed = state.owed(task.id.client, task.last) if owes(task, keeps) else {}
        return outgoing(task, sends, self.model.bridge.loaded, adapter, extras, owed, keeps)

    def _observed(self, adapter: Adapter, outcome: Fitted) -> dict[str, Tensor]:
        """Return what the allocator's observer says of each slot, float32 (r,) on the CPU."""
        if self.observer is None:
            return {}
        found = outcome.observed
        if not isinstance(self.observer, WatchingObserver):
            before = self.model.bridge.loaded
            found = {m: self.observer(before[m], f) for m, f in adapter.items()}
        return {m: numbers.to("cpu", torch.float32) for m, numbers in found.items()}

    def _evaluate(self, task: EvaluateTask, site: Site) -> Counted:
        counts, loss, losses = self.model.evaluate(task, site.test)
        return counted_from(task.id, counts, loss, self.settings.probe.epsilon, losses)
