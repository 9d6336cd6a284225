"""A whole run: prepare, choose ranks, train round by round, save, sum up.

Everything that a round changes is on the disk before the next one starts.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from polyrank.adapter import is_prefix, prefix
from polyrank.aggregators import AGGREGATORS
from polyrank.aggregators.aggregator import ServerModel
from polyrank.allocation import choose_ranks, module_ranges, plan_of, profiles, reads_criteria
from polyrank.checkpoint import join_model, load_tensors, save_tensors, split_model
from polyrank.engines.local import LocalEngine
from polyrank.errors import RunFolderError
from polyrank.federation import Federation, ServerState, start_factors
from polyrank.frozen_base import kept_part, whole_base
from polyrank.messages import Measured
from polyrank.peft_bridge import place_adapter, place_saved, read_adapter, read_saved
from polyrank.preparation import fingerprint, prepare
from polyrank.progress import Silent, Watcher
from polyrank.report import write_report
from polyrank.results import RunFolder
from polyrank.round_record import RoundRecord, round_line, update_lines
from polyrank.settings import Settings
from polyrank.summary import summarize
from polyrank.threads import one_thread
from polyrank.tracking import Trackers


@dataclass(frozen=True)
class Result:
    """A finished run.

    Args:
        folder: where everything is.
        summary: what ``summary.json`` holds.
    """

    folder: Path
    summary: Mapping[str, Any]


def perform(folder: RunFolder, settings: Settings, watcher: Watcher | None = None) -> Result:
    """Start or go on with the run in a folder, to its end.

    Raises:
        PolyRankError: with the reason; what was saved stays, and can be resumed.
    """
    with one_thread():
        return _Run(folder, settings, watcher or Silent()).to_the_end()


class _Run:
    def __init__(self, folder: RunFolder, settings: Settings, watcher: Watcher) -> None:
        self.folder = folder
        self.settings = settings
        self.watcher = watcher
        self.sent = 0
        self.aggregator = AGGREGATORS.make(settings.aggregator.kind, settings.aggregator.options)()
        watcher.stage("data and model")
        base_path = folder.checkpoint / "base.safetensors"
        base = whole_base(settings, *load_tensors(base_path)) if base_path.exists() else None
        self.prepared = prepare(settings, folder.clients, base, folder.checkpoint / "tokens")
        texts = self.prepared.texts
        if texts and texts["cut"]:
            watcher.note(
                f"{texts['cut']} of {texts['texts']} texts are longer than "
                f"{texts['max_length']} tokens and lose their end"
            )
        if base is None:
            workload = self.prepared.workload
            about = {"input_shape": workload.train.input_shape, "classes": workload.classes}
            kept, header = kept_part(settings, workload.base, workload.classes)
            save_tensors(base_path, kept, {**about, **header})
        self.fingerprint = fingerprint(self.prepared.data)

    def to_the_end(self) -> Result:
        engine = LocalEngine(self.prepared.workload, self.settings.workers)
        trackers = Trackers(self.settings, self.folder.path)
        try:
            federation = Federation(
                self.settings,
                self.aggregator,
                engine,
                validation_rows=len(self.prepared.splits.validation),
                test_rows=len(self.prepared.data.test_y),
                on_turn=self.watcher.turn,
            )
            state, facts = self._resumed() or self._started(federation)
            engine.commit(state.trained)
            while state.round < self.settings.rounds:
                self.watcher.stage(f"round {state.round + 1}/{self.settings.rounds}")
                state, record = federation.next_round(state)
                self._keep(state, record, facts)
                engine.commit(state.trained)
                trackers.log(record)
            self._finish(federation, state)
        finally:
            engine.close()
            trackers.close()
        summary = summarize(
            self.settings, self.folder.read("rounds"), self.folder.read("clients"), facts
        )
        self.folder.write_summary(summary)
        write_report([self.folder.path], self.folder.path / "report.html")
        return Result(self.folder.path, summary)

    def _started(self, federation: Federation) -> tuple[ServerState, dict[str, Any]]:
        """Choose ranks and save the state before the first round."""
        self.folder.cut(-1, {})
        model = self._first_model()
        measured: list[Measured] = []
        if reads_criteria(self.settings):
            self.watcher.stage("measuring criteria")
            smallest = {
                name: given.r_min
                for name, given in module_ranges(self.settings, self.prepared.shapes).items()
            }
            measured = federation.probe(model, smallest)
        clients = [client.name for client in self.prepared.splits.clients]
        choice = choose_ranks(self.settings, clients, self.prepared.shapes, measured)
        state = ServerState(model, plan_of(choice))
        facts = self._facts(choice.criterion_weights)
        self.folder.append("clients", self._profiles(profiles(choice, measured)))
        validation, test = federation.evaluate(state)
        seconds = {"probe": sum(m.seconds for m in measured)} if measured else {}
        record = RoundRecord(0, (), validation, test, seconds)
        self._keep(state, record, facts, self._probe_cost(federation, model, measured))
        return state, facts

    def _probe_cost(
        self, federation: Federation, model: ServerModel, measured: list[Measured]
    ) -> dict[str, int]:
        """What measuring the criteria cost: bytes both ways, and optimiser steps."""
        ranges = module_ranges(self.settings, self.prepared.shapes)
        sent = federation.probe_download(model, {n: r.r_min for n, r in ranges.items()})
        return {
            "up": sum(m.nbytes for m in measured),
            "down": sent.nbytes * len(measured),
            "steps": sum(m.steps for m in measured),
        }

    def _first_model(self) -> ServerModel:
        """Start every module as LoRA does, with as many slots as the largest rank."""
        ranges = module_ranges(self.settings, self.prepared.shapes)
        adapter = {
            name: start_factors(
                (shape.d_in, shape.d_out), ranges[name].r_max, self.settings.seed, name
            )
            for name, shape in self.prepared.shapes.items()
        }
        extras = self.prepared.extras
        if self.settings.init_adapter:
            folder = Path(self.settings.init_adapter)
            adapter = place_adapter(read_adapter(folder, self.settings.adapter.scaling), adapter)
            extras = place_saved(read_saved(folder), extras)
        return ServerModel(adapter, extras)

    def _facts(self, criterion_weights: Mapping[str, float]) -> dict[str, Any]:
        ranges = module_ranges(self.settings, self.prepared.shapes)
        slots = sum(s.slot_parameters * ranges[n].r_max for n, s in self.prepared.shapes.items())
        extras = sum(t.numel() for t in self.prepared.extras.values())
        return {
            "criterion_weights": dict(criterion_weights),
            "label_names": list(self.prepared.data.label_names),
            **({"texts": dict(self.prepared.texts)} if self.prepared.texts else {}),
            "parameters": {"base": self.prepared.base_parameters, "trained": slots + extras},
        }

    def _profiles(self, told: Mapping[str, Mapping[str, object]]) -> list[dict[str, Any]]:
        labels = torch.from_numpy(self.prepared.data.train_y)
        classes = len(self.prepared.data.label_names)
        return [
            {
                "event": "profile",
                "client": client.name,
                "examples": {"train": len(client.train), "test": len(client.test)},
                "label_counts": torch.bincount(labels[client.train], minlength=classes).tolist(),
                "cap": self.settings.ranks.caps.get(client.name),
                **told[client.name],
            }
            for client in self.prepared.splits.clients
        ]

    def _keep(
        self,
        state: ServerState,
        record: RoundRecord,
        facts: Mapping[str, Any],
        probe: Mapping[str, int] | None = None,
    ) -> None:
        """Append the round's records, then save the state that makes them final."""
        line = round_line(record, probe)
        self.folder.append("rounds", [line])
        self.folder.append("clients", update_lines(record))
        self.folder.append("timings", [{"round": record.round, "seconds": dict(record.seconds)}])
        header = {
            "round": state.round,
            "plan": _plan_as_json(state),
            "trained": dict(state.trained),
            "facts": dict(facts),
            "data": self.fingerprint,
            "lengths": self.folder.lengths(),
        }
        tensors = join_model(state.model.adapter, state.model.extras)
        save_tensors(self.folder.state_path(state.round), tensors, header)
        self.folder.forget_states_before(state.round)
        self.sent += sum(line["bytes"].values())
        if record.round:
            self.watcher.round(record.round, self.settings.rounds, line, self.sent)

    def _resumed(self) -> tuple[ServerState, dict[str, Any]] | None:
        path = self.folder.last_state()
        if path is None:
            return None
        tensors, header = load_tensors(path)
        if header["data"] != self.fingerprint:
            raise RunFolderError(
                f"{self.folder.path}: the data set is not the one that the run began with"
            )
        self.folder.cut(header["round"], header["lengths"])
        self.sent = sum(sum(r["bytes"].values()) for r in self.folder.read("rounds"))
        model = ServerModel(*split_model(tensors))
        plan = {
            client: {m: prefix(s) if isinstance(s, int) else torch.tensor(s) for m, s in of.items()}
            for client, of in header["plan"].items()
        }
        state = ServerState(model, plan, header["round"], header["trained"])
        return state, header["facts"]

    def _finish(self, federation: Federation, state: ServerState) -> None:
        self.watcher.stage("clients' own test rows")
        rows = {client.name: len(client.test) for client in self.prepared.splits.clients}
        self.folder.append(
            "clients",
            [
                {"event": "final", "client": client, "global": shared, "personal": personal}
                for client, shared, personal in federation.evaluate_clients(state, rows)
            ],
        )


def _plan_as_json(state: ServerState) -> dict[str, dict[str, int | list[int]]]:
    """A number r stands for the slots 0 .. r-1."""
    return {
        client: {m: len(s) if is_prefix(s) else s.tolist() for m, s in modules.items()}
        for client, modules in state.plan.items()
    }
