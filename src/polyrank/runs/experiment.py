"""A whole run on the server's side: choose ranks, train round by round, save, sum up.

Everything that a round changes is on the disk before the next one starts. Where the clients are
does not matter here: they are reached through the engine that is handed in.
"""

from collections.abc import Mapping
from dataclasses import asdict, replace
from typing import Any

from rich.filesize import decimal

from polyrank.aggregators import AGGREGATORS
from polyrank.aggregators.aggregator import ServerModel
from polyrank.allocators import Choice
from polyrank.allocators.need import places
from polyrank.console.progress import Watcher
from polyrank.disk.checkpoint import load_tensors, save_tensors
from polyrank.disk.outside import as_written
from polyrank.head_inits.label_skew import skew_warning
from polyrank.lora.factors import Tensors
from polyrank.protocol.engine import Engine
from polyrank.protocol.messages import Profile
from polyrank.record.lines import CutLoss, ExampleCounts, FinalLine, ProfileLine, RanksLine
from polyrank.record.run_folder import MADE, RunFolder
from polyrank.record.summary import Facts, Parameters, Texts, Truncation, summarize
from polyrank.report import write_report
from polyrank.runs.choosing import Choosing
from polyrank.runs.ledger import Ledger
from polyrank.runs.opening import Opened
from polyrank.runs.preparation import ServerSide, first_adapter, first_extras
from polyrank.runs.result import Result
from polyrank.runs.stopwatch import Stopwatch
from polyrank.runs.tracking import Trackers
from polyrank.server.cut_judge import CutJudge
from polyrank.server.evaluation import ClientEvaluation, Examine, ServerEvaluation
from polyrank.server.federation import Federation
from polyrank.server.held_out import HeldOut
from polyrank.server.input_scaling import learnt_scaling
from polyrank.server.measuring import Costs, Measuring, ask_profiles, by_size
from polyrank.server.ranks import RankChooser
from polyrank.server.round_record import RoundRecord
from polyrank.server.rules import rules_of
from polyrank.server.saved_state import check_state_fits
from polyrank.server.starting_head import has_new_head, starting_head
from polyrank.server.state import ServerState
from polyrank.server_optimizers import SERVER_OPTIMIZERS
from polyrank.settings.ranges import module_ranges
from polyrank.settings.schema import Settings


class Experiment:
    """One run, from what its server has to its report.

    Args:
        folder: of the run.
        settings: of the run.
        side: what the server has.
        engine: reaches the clients.
        examine: counts answers of the model on the server's own rows.
        opened: what the folder held before.
        watcher: is told of the progress.
        clock: started when the run was.

    Raises:
        SettingsError: the settings do not go together, or do not fit the model or the clients.
    """

    def __init__(
        self,
        folder: RunFolder,
        settings: Settings,
        side: ServerSide,
        engine: Engine,
        examine: Examine,
        opened: Opened,
        watcher: Watcher,
        clock: Stopwatch,
    ) -> None:
        self.folder, self.settings, self.side, self.engine = folder, settings, side, engine
        self.watcher, self.clock, self.opened = watcher, clock, opened
        self.rules = rules_of(settings)
        self.aggregator = AGGREGATORS.build(settings.aggregator)
        self.optimizer = SERVER_OPTIMIZERS.build(settings.server_optimizer)
        self.ledger = Ledger(folder, settings, side.fingerprint, clock, watcher)
        self.ranks = RankChooser(settings, engine.roster(), side.shapes)
        for text in self.ranks.notes:
            watcher.note(text)
        equal = settings.aggregator.kind if self.aggregator.equal_ranks else None
        self.judge = ServerEvaluation(
            self.rules,
            examine,
            validation_rows=len(side.rows["validation"]),
            test_rows=len(side.rows["test"]),
            every=settings.evaluation.every,
            after_training=settings.evaluation.global_model,
        )
        self.choosing = Choosing(
            self.ranks, equal, self._measuring, watcher, clock, self._cut_judge
        )
        classes = side.blueprint.classes
        drawn = side.drawn if opened.drawn is None else opened.drawn
        self.new_head = has_new_head(side.extras, classes, drawn)
        self.head = starting_head(settings, side.extras, classes, new=self.new_head)

    def to_the_end(self) -> Result:
        """Start, or go on from the state that was opened, to the last round and the report.

        Raises:
            PolyRankError: with the reason; what was saved stays, and can be resumed.
        """
        trackers = Trackers(self.settings, self.folder.path)
        try:
            facts = self._rounds(trackers)
        finally:
            trackers.close()
        summary = summarize(
            self.settings, self.folder.read_rounds(), self.folder.read_clients(), facts
        )
        self.folder.write_summary(summary)
        write_report([self.folder.path], self.folder.path / "report.html")
        return Result(self.folder.path, summary.as_json())

    def _rounds(self, trackers: Trackers) -> Facts:
        resumed = self._resumed()
        self.profiles = ask_profiles(
            self.engine, self.rules.run, self.side.blueprint.classes, self.ledger.failures.append
        )
        self.roster = by_size(self.profiles)
        self.ranks.hold_to({c: told.cap for c, told in self.profiles.items() if told.cap})
        if self.ranks.judges_cuts:
            self._cut_judge().check_rows(self.settings.allocator.kind)
        federation = self._federation()
        self.clock.lap("start")
        state, facts = resumed or self._started()
        self.engine.commit(*self.ledger.kept)
        while state.round < self.rules.rounds:
            number = f"{state.round + 1}/{self.rules.rounds}"
            self.watcher.stage(f"round {number}", told_at_end=True)
            state, cost, cuts = self._refreshed(state)
            state, record = federation.next_round(state)
            self.clock.lap("train")
            judged = replace(record, cuts=cuts, down=state.down)
            record, judging = self._judged(state, judged)
            cost += judging
            if state.round == self.rules.rounds and self.ranks.needs.cuts:
                facts, more = self._truncated(state, facts)
                cost += more
            line = self.ledger.keep(state, record, facts, asdict(cost))
            self.engine.commit(*self.ledger.kept)
            trackers.log(line)
        self._finish(state)
        return facts

    def _resumed(self) -> tuple[ServerState, Facts] | None:
        resumed = self.ledger.resumed(self.opened)
        self.opened = Opened()  # not held for the whole run
        if resumed:
            with as_written(self.folder.path):
                grows = self.ranks.needs.cuts is not None
                start, clients = self._start_model(), self.ranks.clients
                check_state_fits(resumed[0], start, clients, fewer=grows)
        return resumed

    def _federation(self) -> Federation:
        most = {c: self.profiles[c].examples or float("inf") for c in self.roster}
        return Federation(
            self.rules,
            self.aggregator,
            self.engine,
            most,
            buffers=self.side.buffers,
            optimizer=self.optimizer,
            cut=self.ranks.cut,
            observes=self.ranks.needs.observes is not None,
            changes=self.ranks.needs.changes,
            caps=self.settings.ranks.caps,
            on_turn=self.watcher.turn,
        )

    def _judged(self, state: ServerState, record: RoundRecord) -> tuple[RoundRecord, Costs]:
        """Judge the model on the server's rows, or clients'; return also what asking them cost."""
        validation, test = self.judge.evaluate(state)
        cost = Costs()
        if self.settings.evaluation.held_by == "clients" and self.judge.due(state.round):
            validation, cost = self._held_out().judge(state)
        seconds = {**record.seconds, "evaluate": self.clock.lap("evaluate")}
        return replace(record, validation=validation, test=test, seconds=seconds), cost

    def _held_out(self) -> HeldOut:
        return HeldOut(
            self.rules,
            self.engine,
            self._test_rows(),
            self.side.blueprint.classes,
            self.ledger.failures.append,
        )

    def _test_rows(self) -> dict[str, int]:
        return {client: self.profiles[client].test_examples or 0 for client in self.roster}

    def _started(self) -> tuple[ServerState, Facts]:
        """Choose ranks and save the state before the first round."""
        self.folder.cut(-1, {})
        state, scaling_cost = self._with_scaling(ServerState(self._start_model(), {}))
        state, head_cost = self._with_head(state)
        chosen = self.choosing.choose(state)
        facts = self._facts(chosen.choice)
        self.folder.append("clients", self._profile_lines(chosen.told))
        record, cost = self._judged(chosen.state, RoundRecord(0))
        cost += chosen.cost + head_cost + scaling_cost
        self.ledger.keep(chosen.state, record, facts, asdict(cost))
        return chosen.state, facts

    def _measuring(self) -> Measuring:
        return Measuring(
            self.rules,
            self.aggregator,
            self.engine,
            self.roster,
            self.watcher.turn,
            self.ledger.failures.append,
        )

    def _with_scaling(self, state: ServerState) -> tuple[ServerState, Costs]:
        """Learn what the numbers of a table are scaled by, and keep it; return what it cost."""
        if not self.side.numbers:
            return state, Costs()
        self.watcher.stage("scaling columns")
        measuring = self._measuring()
        made = learnt_scaling(measuring, state, self.side.numbers)
        self.watcher.note(
            f"{len(self.side.numbers)} columns of numbers are scaled by sums over clients: each "
            f"sends {decimal(measuring.costs.most)} once: counts, sums and sums of squares"
        )
        return self._made(state, "scaling", made), measuring.costs

    def _made(self, state: ServerState, what: str, tensors: Tensors) -> ServerState:
        """Keep tensors that were made before round 1, and put them among the extras."""
        save_tensors(self.folder.checkpoint / f"{what}.safetensors", tensors, {})
        self.clock.lap(what)
        extras = {**state.model.extras, **tensors}
        return replace(state, model=replace(state.model, extras=extras))

    def _cut_judge(self) -> CutJudge:
        return CutJudge(
            self.rules,
            self.judge.examine,
            len(self.side.rows["cuts"]),
            self.engine,
            self._test_rows(),
            self.ledger.failures.append,
        )

    def _with_head(self, state: ServerState) -> tuple[ServerState, Costs]:
        """Make the head, if the settings say how, and keep it; return also what it cost."""
        if self.head is None:
            self._warn_of_skew()
            return state, Costs()
        self.watcher.stage("making the head")
        measuring = self._measuring()
        made = self.head.made(measuring, state)
        self.watcher.note(
            f"the head starts from sums of features ({self.head.by.name}): each client sends up to "
            f"{decimal(measuring.costs.most)} once: label counts and sums of features"
        )
        return self._made(state, "head", made), measuring.costs

    def _warn_of_skew(self) -> None:
        counts = [profile.label_counts or [] for profile in self.profiles.values()]
        private = self.settings.probe.epsilon is not None
        if self.new_head and (said := skew_warning(counts, private=private)):
            self.watcher.note(said)

    def _start_model(self) -> ServerModel:
        adapter = self.side.blueprint.start or first_adapter(self.settings, self.side.shapes)
        extras = first_extras(self.settings, self.side.extras)
        made = (self.folder.checkpoint / f"{what}.safetensors" for what in MADE)
        kept = [load_tensors(path)[0] for path in made if path.exists()]
        return ServerModel(adapter, {n: t for part in (extras, *kept) for n, t in part.items()})

    def _refreshed(self, state: ServerState) -> tuple[ServerState, Costs, Mapping[int, float]]:
        """Choose ranks again, if it is time; return also what measuring cost, and found."""
        if not self.ranks.due(state.round):
            return state, Costs(), {}
        chosen, number = self.choosing.choose(state), state.round + 1
        lines = [RanksLine(round=number, client=c, **chosen.told[c]) for c in chosen.changed]
        self.folder.append("clients", lines)
        return chosen.state, chosen.cost, chosen.cuts

    def _truncated(self, state: ServerState, facts: Facts) -> tuple[Facts, Costs]:
        """Judge the exported model cut to fewer slots; return the facts with it, and its cost."""
        judge, model = self._cut_judge(), state.exported
        most = max(f.rank for f in model.adapter.values())
        found = judge.judge(model, state.round, places(most) if judge.able else [])
        self.clock.lap("cuts")
        curve = [CutLoss(slots=slots, loss=loss) for slots, loss in found.losses.items()]
        told = Truncation(curve=curve, rows=found.rows, held_by=found.held_by)
        return facts.model_copy(update={"truncation": told if curve else None}), found.cost

    def _facts(self, choice: Choice) -> Facts:
        side, ranges = self.side, module_ranges(self.settings, self.side.shapes).values()
        slots = sum(given.slot_parameters * given.r_max for given in ranges)
        extras = sum(t.numel() for t in side.extras.values())
        return Facts(
            criterion_weights=dict(choice.criterion_weights),
            rank_spread=choice.share,
            head_init=self.head.by.name if self.head else "none",
            label_names=list(side.label_names),
            columns=list(side.columns.names) if side.columns else None,
            texts=Texts(**side.texts) if side.texts else None,
            parameters=Parameters(base=side.base_parameters, trained=slots + extras),
        )

    def _profile_lines(self, told: Mapping[str, Mapping[str, Any]]) -> list[ProfileLine]:
        def line(client: str, profile: Profile) -> ProfileLine:
            train, test = profile.examples, profile.test_examples
            known = None
            if train is not None and test is not None:
                known = ExampleCounts(train=train, test=test)
            return ProfileLine(
                client=client,
                examples=known,
                label_counts=list(profile.label_counts or []),
                cap=self.ranks.cap_of(client),
                **told[client],
            )

        return [line(client, self.profiles[client]) for client in self.ranks.clients]

    def _finish(self, state: ServerState) -> None:
        rows = {client: profile.test_examples or 0 for client, profile in self.profiles.items()}
        if any(rows.values()):
            self.watcher.stage("clients' own test rows")
        failures = self.ledger.failures
        evaluation = ClientEvaluation(
            self.rules,
            self.engine,
            rows,
            shared=self.settings.evaluation.global_model,
            on_failure=failures.append,
        )
        lines = []
        for own in evaluation.evaluate(state, self._start_model(), self.roster):
            failed = list(dict.fromkeys(turn.failed for turn in failures if turn.failed))
            lines.append(
                FinalLine(
                    client=own.client,
                    before=own.before,
                    shared=own.shared,
                    personal=own.personal,
                    failed=failed or None,
                )
            )
            for reason in failed:
                self.watcher.note(f"client {own.client}: {reason}")
            failures.clear()
        self.folder.append("clients", lines)
        self.clock.lap("final")
        self.ledger.keep_time(state.round)
