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
from polyrank.client.site import Site
from polyrank.learning.blueprint import Blueprint
from polyrank.learning.training import Fitted
from polyrank.lora.changes import CutChange, cut_change
from polyrank.lora.factors import Adapter
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
        cuts = self._cuts(task, adapter)
        if store:
            owed = {m: cut.left for m, cut in cuts.items()}
            store.save(task.id.client, task.id.round, bridge.with_frozen(adapter), extras, owed)
        if task.change:
            adapter = {m: cut.sent for m, cut in cuts.items()}
        shares = {m: cut.share for m, cut in cuts.items()}
        sends = self.model.aggregator.local(task.id.round).sends
        examples = len(site.train)
        return update_from(task.id, adapter, extras, sends, examples, outcome, observed, shares)

    def _cuts(self, task: TrainTask, after: Adapter) -> dict[str, CutChange]:
        """Cut each module's change as the task says, with what the last rounds have left."""
        rule, before = task.change, self.model.bridge.loaded
        if rule is None:
            return {}
        owed = self.model.state.owed(task.id.client, task.last)
        weight = rule.feedback ** (task.id.round - (task.last or 0))
        return {
            m: cut_change(
                before[m],
                f,
                (owed[m], weight) if m in owed and weight else None,
                error=rule.error,
                most=rule.largest(f.rank),
            )
            for m, f in after.items()
        }

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
