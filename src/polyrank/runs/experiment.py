"""A whole run: prepare, choose ranks, train round by round, save, sum up.

Everything that a round changes is on the disk before the next one starts.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from rich.filesize import decimal
from torch import Tensor

from polyrank.aggregators import AGGREGATORS
from polyrank.aggregators.aggregator import ServerModel
from polyrank.allocators import Choice
from polyrank.client.training import choose_device
from polyrank.console.progress import Silent, Watcher
from polyrank.disk.checkpoint import join_model, load_tensors, save_tensors, split_model
from polyrank.disk.outside import as_written
from polyrank.engines.local import LocalEngine
from polyrank.errors import RunFolderError
from polyrank.head_inits.label_skew import skew_warning
from polyrank.protocol.messages import Measured
from polyrank.record.kept_states import check_settings, keep_state, lasting, newest_whole
from polyrank.record.lines import Examples, FinalLine, ProfileLine, RanksLine, RoundLine, TimingLine
from polyrank.record.round_lines import line_of_round, lines_of_updates
from polyrank.record.run_folder import RunFolder
from polyrank.record.summary import Facts, Parameters, Texts, summarize
from polyrank.report import write_report
from polyrank.runs.base import kept_part, whole_base
from polyrank.runs.preparation import fingerprint, first_adapter, first_extras, prepare
from polyrank.runs.stopwatch import Stopwatch
from polyrank.runs.tracking import Trackers
from polyrank.server.federation import Federation, Plan, ServerState
from polyrank.server.ranks import RankChooser, check_equal, plan_of, profiles
from polyrank.server.round_record import RoundRecord, Turn
from polyrank.server.saved_state import check_fits, pack_state, unpack_state
from polyrank.server.starting_head import has_new_head, starting_head
from polyrank.server_optimizers import SERVER_OPTIMIZERS
from polyrank.settings.combinations import check_combination
from polyrank.settings.ranges import module_ranges
from polyrank.settings.schema import Settings
from polyrank.threads import one_thread


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
        self.clock = Stopwatch()
        self.folder = folder
        self.settings = settings
        self.watcher = watcher
        self.sent = 0
        self.kept: list[Mapping[str, int]] = []  # of the states on the disk, who trained when
        self.saved = newest_whole(folder, watcher.note)
        if self.saved:
            with as_written(folder.path):
                check_settings(folder, settings, self.saved[1]["settings"])
        self.failures: list[Turn] = []
        check_combination(settings)
        self.aggregator = AGGREGATORS.build(settings.aggregator)
        self.optimizer = SERVER_OPTIMIZERS.build(settings.server_optimizer)
        choose_device(settings.device)
        watcher.stage("data and model")
        base_path = folder.checkpoint / "base.safetensors"
        kept, header = load_tensors(base_path) if base_path.exists() else ({}, {})
        base = whole_base(settings, kept, header) if header else None
        start_path = folder.checkpoint / "start.safetensors"
        start = split_model(load_tensors(start_path)[0])[0] if start_path.exists() else None
        self.prepared = prepare(settings, folder.clients, base, start, folder.checkpoint / "tokens")
        texts = self.prepared.texts
        if texts and texts["cut"]:
            watcher.note(
                f"{texts['cut']} of {texts['texts']} texts are longer than "
                f"{texts['max_length']} tokens and lose their end"
            )
        if base is None:
            workload = self.prepared.workload
            header = {
                "input_shape": workload.train.input_shape,
                "classes": workload.classes,
                "drawn": list(self.prepared.drawn),
            }
            if workload.start:
                save_tensors(start_path, join_model(workload.start, {}), {})
            new, about = kept_part(settings, workload.base, workload.classes)
            save_tensors(base_path, new, {**header, **about})
        self.fingerprint = fingerprint(self.prepared.data)
        clients = [client.name for client in self.prepared.splits.clients]
        self.ranks = RankChooser(settings, clients, self.prepared.shapes)
        for text in self.ranks.notes:
            watcher.note(text)
        classes = self.prepared.workload.classes
        self.head_path = folder.checkpoint / "head.safetensors"
        self.new_head = has_new_head(self.prepared.extras, classes, header["drawn"])
        self.head = starting_head(settings, self.prepared.extras, classes, new=self.new_head)

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
                buffers=self.prepared.buffers,
                optimizer=self.optimizer,
                cut=self.ranks.cut,
                observes=self.ranks.needs.observes is not None,
                on_turn=self.watcher.turn,
                on_failure=self.failures.append,
            )
            resumed = self._resumed()
            self.clock.lap("start")
            state, facts = resumed or self._started(federation)
            engine.commit(*self.kept)
            while state.round < self.settings.rounds:
                number = f"{state.round + 1}/{self.settings.rounds}"
                self.watcher.stage(f"round {number}", told_at_end=True)
                state, probed = self._refreshed(federation, state)
                state, record = federation.next_round(state)
                self.clock.lap("train", {"evaluate": record.seconds["evaluate"]})
                line = self._keep(state, record, facts, probed)
                engine.commit(*self.kept)
                trackers.log(line)
            self._finish(federation, state)
        finally:
            engine.close()
            trackers.close()
        summary = summarize(
            self.settings, self.folder.read_rounds(), self.folder.read_clients(), facts
        )
        self.folder.write_summary(summary)
        write_report([self.folder.path], self.folder.path / "report.html")
        return Result(self.folder.path, summary.as_json())

    def _started(self, federation: Federation) -> tuple[ServerState, Facts]:
        """Choose ranks and save the state before the first round."""
        self.folder.cut(-1, {})
        state, head_cost = self._with_head(federation, ServerState(self._start_model(), {}))
        measured = self._measured(federation, state)
        choice, memory = self.ranks.choose(None, measured, 0)
        state = replace(state, plan=self._plan(choice), allocator=memory)
        facts = self._facts(choice)
        self.folder.append("clients", self._profiles(profiles(choice, measured)))
        validation, test = federation.evaluate(state)
        self.clock.lap("evaluate")
        record = RoundRecord(0, (), validation, test)
        cost = self._probe_cost(federation, state, measured)
        self._keep(state, record, facts, {n: cost[n] + head_cost[n] for n in cost})
        return state, facts

    def _with_head(
        self, federation: Federation, state: ServerState
    ) -> tuple[ServerState, dict[str, int]]:
        """Make the head, if the settings say how, and keep it; return also what it cost."""
        if self.head is None:
            self._warn_of_skew()
            return state, {"up": 0, "down": 0, "steps": 0}
        self.watcher.stage("making the head")
        made, cost = self.head.made(federation, state)
        self.watcher.note(
            f"the head starts from sums of features ({self.head.by.name}): each client sends up to "
            f"{decimal(cost['most'])} once: label counts and sums of features"
        )
        save_tensors(self.head_path, made, {})
        self.clock.lap("head")
        extras = {**state.model.extras, **made}
        return replace(state, model=replace(state.model, extras=extras)), cost

    def _warn_of_skew(self) -> None:
        counts = self._label_counts().values()
        private = self.settings.probe.epsilon is not None
        if self.new_head and (said := skew_warning([*counts], private=private)):
            self.watcher.note(said)

    def _start_model(self) -> ServerModel:
        adapter = self.prepared.workload.start or first_adapter(self.settings, self.prepared.shapes)
        extras = first_extras(self.settings, self.prepared.extras)
        made = load_tensors(self.head_path)[0] if self.head_path.exists() else {}
        return ServerModel(adapter, {**extras, **made})

    def _refreshed(
        self, federation: Federation, state: ServerState
    ) -> tuple[ServerState, dict[str, int]]:
        """Choose ranks again, if it is time; return also what measuring cost."""
        if not self.ranks.due(state.round):
            return state, {}
        measured = self._measured(federation, state)
        choice, memory = self.ranks.choose(
            state.allocator, measured, state.round, state.observed, state.sent
        )
        plan, told = self._plan(choice), profiles(choice, measured)
        changed = [client for client in plan if not _same(plan[client], state.plan[client])]
        number = state.round + 1
        self.folder.append(
            "clients",
            [RanksLine(round=number, client=c, **told[c]) for c in changed],
        )
        planned = state.round if changed else state.planned
        cost = self._probe_cost(federation, state, measured)
        return replace(state, plan=plan, planned=planned, allocator=memory), cost

    def _plan(self, choice: Choice) -> Plan:
        if self.aggregator.equal_ranks:
            check_equal(self.settings.aggregator.kind, choice)
        return plan_of(choice)

    def _measured(self, federation: Federation, state: ServerState) -> list[Measured]:
        wanted = self.ranks.wanted_at(state.round)
        if not wanted:
            return []
        self.watcher.stage("measuring clients")
        measured = list(federation.probe(state, self.ranks.smallest, wanted))
        self.clock.lap("probe")
        return measured

    def _probe_cost(
        self, federation: Federation, state: ServerState, measured: list[Measured]
    ) -> dict[str, int]:
        """What measuring cost: bytes both ways, and optimiser steps."""
        wanted = self.ranks.wanted_at(state.round)
        sent = (
            federation.probe_download(state, self.ranks.smallest, m.id.client, wanted)
            for m in measured
        )
        return {
            "up": sum(m.nbytes for m in measured),
            "down": sum(download.nbytes for download in sent),
            "steps": sum(m.steps for m in measured),
        }

    def _facts(self, choice: Choice) -> Facts:
        ranges = module_ranges(self.settings, self.prepared.shapes)
        slots = sum(s.slot_parameters * ranges[n].r_max for n, s in self.prepared.shapes.items())
        extras = sum(t.numel() for t in self.prepared.extras.values())
        texts = self.prepared.texts
        return Facts(
            criterion_weights=dict(choice.criterion_weights),
            rank_spread=choice.share,
            head_init=self.head.by.name if self.head else "none",
            label_names=list(self.prepared.data.label_names),
            texts=Texts(**texts) if texts else None,
            parameters=Parameters(base=self.prepared.base_parameters, trained=slots + extras),
        )

    def _label_counts(self) -> dict[str, list[int]]:
        labels = torch.from_numpy(self.prepared.data.train_y)
        classes = len(self.prepared.data.label_names)
        return {
            client.name: torch.bincount(labels[client.train], minlength=classes).tolist()
            for client in self.prepared.splits.clients
        }

    def _profiles(self, told: Mapping[str, Mapping[str, Any]]) -> list[ProfileLine]:
        counts = self._label_counts()
        return [
            ProfileLine(
                client=client.name,
                examples=Examples(train=len(client.train), test=len(client.test)),
                label_counts=counts[client.name],
                cap=self.settings.ranks.caps.get(client.name),
                **told[client.name],
            )
            for client in self.prepared.splits.clients
        ]

    def _keep(
        self,
        state: ServerState,
        record: RoundRecord,
        facts: Facts,
        probe: Mapping[str, int] | None = None,
    ) -> RoundLine:
        """Append the round's records, then save the state that makes them final.

        Returns:
            Its line of ``rounds.jsonl``.
        """
        record = replace(record, earlier=(*self.failures, *record.earlier))
        self.failures.clear()
        line = line_of_round(record, probe)
        self.folder.append("rounds", [line])
        self.folder.append("clients", lines_of_updates(record))
        self._keep_time(state.round)
        self.kept = [*self.kept[-1:], dict(state.trained)]
        tensors, header = pack_state(state)
        header |= {
            "facts": facts.as_json(),
            "data": self.fingerprint,
            "lengths": self.folder.lengths(),
            "settings": lasting(self.settings),
            "kept": self.kept,
        }
        keep_state(self.folder, state.round, tensors, header)
        self.sent += line.bytes.total
        self.watcher.round(line, self.settings.rounds, self.sent)
        self.clock.lap("save")
        return line

    def _keep_time(self, round: int) -> None:
        self.folder.append("timings", [TimingLine(round=round, seconds=self.clock.take())])

    def _resumed(self) -> tuple[ServerState, Facts] | None:
        if self.saved is None:
            return None
        tensors, header = self.saved
        self.saved = None  # not held for the whole run
        with as_written(self.folder.path):
            if header["data"] != self.fingerprint:
                raise RunFolderError(
                    f"{self.folder.path}: the data set is not the one that the run began with"
                )
            self.kept = header["kept"]
            state, facts = unpack_state(tensors, header), Facts.read(header["facts"], "facts")
            check_fits(state, self._start_model(), self.ranks.clients)
            self.folder.cut(state.round, header["lengths"])
            rounds = self.folder.read_rounds()
            summarize(self.settings, rounds, self.folder.read_clients(), facts)  # it can be done
            self.sent = sum(line.bytes.total for line in rounds)
        return state, facts

    def _finish(self, federation: Federation, state: ServerState) -> None:
        rows = {client.name: len(client.test) for client in self.prepared.splits.clients}
        if any(rows.values()):
            self.watcher.stage("clients' own test rows")
        lines = []
        for client, before, shared, own in federation.evaluate_clients(
            state, rows, self._start_model()
        ):
            failed = list(dict.fromkeys(turn.failed for turn in self.failures if turn.failed))
            lines.append(
                FinalLine(
                    client=client,
                    before=before,
                    shared=shared,
                    personal=own,
                    failed=failed or None,
                )
            )
            for reason in failed:
                self.watcher.note(f"client {client}: {reason}")
            self.failures.clear()
        self.folder.append("clients", lines)
        self.clock.lap("final")
        self._keep_time(state.round)


def _same(left: Mapping[str, Tensor], right: Mapping[str, Tensor]) -> bool:
    return left.keys() == right.keys() and all(torch.equal(left[m], right[m]) for m in left)
