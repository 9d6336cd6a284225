"""Write every round to disk: its records first, then the state that makes them final."""

from collections.abc import Mapping
from dataclasses import replace

from polyrank.console.progress import Watcher
from polyrank.disk.outside import as_written
from polyrank.errors import RunFolderError
from polyrank.record.kept_states import keep_state, lasting
from polyrank.record.lines import RoundLine, TimingLine
from polyrank.record.round_lines import line_of_round, lines_of_updates
from polyrank.record.run_folder import RunFolder
from polyrank.record.summary import Facts, summarize
from polyrank.runs.opening import Opened
from polyrank.runs.stopwatch import Stopwatch
from polyrank.server.round_record import RoundRecord, Turn
from polyrank.server.saved_state import pack_state, unpack_state
from polyrank.server.state import ServerState
from polyrank.settings.schema import Settings


class Ledger:
    """Writes the records and states of a run.

    Args:
        folder: of the run.
        settings: of the run.
        data: fingerprint of the data.
        clock: whose times are written beside the records.
        watcher: is told of each round.
    """

    def __init__(
        self, folder: RunFolder, settings: Settings, data: str, clock: Stopwatch, watcher: Watcher
    ) -> None:
        self.folder, self.settings, self.data = folder, settings, data
        self.clock, self.watcher = clock, watcher
        self.failures: list[Turn] = []  # that no record holds yet
        self.kept: list[Mapping[str, int]] = []  # of the states on the disk, who trained when
        self.sent = 0

    def resumed(self, opened: Opened) -> tuple[ServerState, Facts] | None:
        """Return the state to go on from and the facts of the run; None for a new one.

        Raises:
            RunFolderError: the folder is damaged, or the run began with other data.
        """
        if opened.state is None:
            return None
        tensors, header = opened.state
        with as_written(self.folder.path):
            if header["data"] != self.data:
                raise RunFolderError(
                    f"{self.folder.path}: expected the data that the run began with, got others"
                )
            self.kept = header["kept"]
            state, facts = unpack_state(tensors, header), Facts.read(header["facts"], "facts")
            self.folder.cut(state.round, header["lengths"])
            rounds = self.folder.read_rounds()
            summarize(self.settings, rounds, self.folder.read_clients(), facts)  # it can be done
            self.sent = sum(line.bytes.total for line in rounds)
        return state, facts

    def keep(
        self,
        state: ServerState,
        record: RoundRecord,
        facts: Facts,
        probe: Mapping[str, int] | None = None,
    ) -> RoundLine:
        """Append the round's records, then save the state that makes them final.

        Args:
            state: after the round.
            record: of the round.
            facts: what the records do not hold.
            probe: what measuring before the round cost: bytes both ways, and steps.

        Returns:
            the line of ``rounds.jsonl``.
        """
        record = replace(record, earlier=(*self.failures, *record.earlier))
        self.failures.clear()
        line = line_of_round(record, probe)
        self.folder.append("rounds", [line])
        self.folder.append("clients", lines_of_updates(record))
        self.keep_time(state.round)
        self.kept = [*self.kept[-1:], dict(state.trained)]
        tensors, header = pack_state(state)
        header |= {
            "facts": facts.as_json(),
            "data": self.data,
            "lengths": self.folder.lengths(),
            "settings": lasting(self.settings),
            "kept": self.kept,
        }
        keep_state(self.folder, state.round, tensors, header)
        self.sent += line.bytes.total
        self.watcher.round(line, self.settings.rounds, self.sent)
        self.clock.lap("save")
        return line

    def keep_time(self, round: int) -> None:
        """Append the seconds spent since the last call, by part of the work."""
        self.folder.append("timings", [TimingLine(round=round, seconds=self.clock.take())])
