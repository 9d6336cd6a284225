"""Read a run folder, finished or not.

A line that a crash cut short is left out with a note; any other line that does not fit
is an error that names the file, the line and the key.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

from polyrank.errors import RunFolderError
from polyrank.formats import check_format
from polyrank.record.lines import (
    ClientLine,
    FinalLine,
    Line,
    ProfileLine,
    RanksLine,
    RoundLine,
    TimingLine,
    UpdateLine,
    client_line,
)
from polyrank.record.outcome import Outcome, outcome_of
from polyrank.record.schema import RanksByModule, parse_object
from polyrank.record.sent import last_sent
from polyrank.record.summary import Summary

L = TypeVar("L", bound=Line)


@dataclass(frozen=True)
class Run:
    """All that a run folder holds; ``summary`` is None while the run is unfinished.

    Attributes:
        settings: the text of config.toml, or an empty string.
        rounds: by round number, each once.
        clients: every line about a client once, in the order written.
        timings: by round number, each once.
        notes: what was left out while reading, in plain words.
        date: on which the last of it was written, such as "2026-01-31".
    """

    folder: Path
    settings: str = ""
    rounds: Sequence[RoundLine] = ()
    clients: Sequence[ClientLine] = ()
    timings: Sequence[TimingLine] = ()
    summary: Summary | None = None
    notes: Sequence[str] = ()
    date: str = ""

    @cached_property
    def profiles(self) -> list[ProfileLine]:
        """One a client, in natural order of the client names."""
        return sorted(self._of(ProfileLine), key=lambda line: natural_key(line.client))

    @cached_property
    def changes(self) -> list[RanksLine]:
        """The ranks that were changed during the run, by round."""
        return sorted(self._of(RanksLine), key=lambda line: (line.round, natural_key(line.client)))

    @cached_property
    def updates(self) -> list[UpdateLine]:
        """The updates that were taken, by round."""
        return sorted(self._of(UpdateLine), key=lambda line: (line.round, natural_key(line.client)))

    @cached_property
    def sent(self) -> dict[str, UpdateLine]:
        """Each client's last update, where clients send changes cut to the rank they need."""
        return last_sent(self.clients)

    @cached_property
    def finals(self) -> list[FinalLine]:
        """One a client with test rows of its own, in natural order of the client names."""
        return sorted(self._of(FinalLine), key=lambda line: natural_key(line.client))

    @cached_property
    def came_to(self) -> Outcome:
        """What the run came to so far: on test rows, or where there are none on validation rows."""
        tested = any(line.test for line in self.rounds)
        return outcome_of(self.rounds, self.clients, "test" if tested else "validation")

    @property
    def finished(self) -> bool:
        """Whether the run came to its end."""
        return self.summary is not None

    @property
    def only_personal(self) -> bool:
        """Whether the clients' own models were judged and the global one was not."""
        return bool(self.finals) and not any(final.shared for final in self.finals)

    @property
    def name(self) -> str:
        """The run's own name, or its folder's."""
        return (self.summary and self.summary.name) or self.folder.resolve().name

    def ranks_of(self, profile: ProfileLine) -> RanksByModule:
        """Return the ranks that a client has now."""
        return self.came_to.ranks[profile.client]

    def _of(self, kind: type[L]) -> list[L]:
        return [line for line in self.clients if isinstance(line, kind)]


def read_run(folder: Path) -> Run:
    """Read the run in ``folder``; a run without summary.json counts as unfinished.

    Raises:
        RunFolderError: no such run, or a file holds something that is not a run's record.
    """
    if not any((folder / name).is_file() for name in ("config.toml", "rounds.jsonl")):
        raise RunFolderError(
            f"{folder}: expected config.toml or rounds.jsonl of a run, got neither"
        )
    notes: list[str] = []
    clients = _lines(folder / "clients.jsonl", client_line, notes)
    settings = _text(folder / "config.toml")
    if named := re.search(r"^format = (\d+)$", settings, flags=re.MULTILINE):
        check_format(int(named[1]), folder / "config.toml", RunFolderError)
    return Run(
        folder=folder,
        settings=settings,
        rounds=_by_round(_lines(folder / "rounds.jsonl", RoundLine.read, notes)),
        clients=list({_key(line): line for line in clients}.values()),
        timings=_summed(_lines(folder / "timings.jsonl", TimingLine.read, notes)),
        summary=_summary(folder / "summary.json"),
        notes=notes,
        date=_date(folder),
    )


def natural_key(name: str) -> tuple[tuple[int, int, str], ...]:
    """Return a sort key by which "client 2" comes before "client 10"."""
    parts = re.split(r"([0-9]+)", name)
    return tuple((0, int(part), "") if part.isdecimal() else (1, 0, part) for part in parts if part)


def _date(folder: Path) -> str:
    for name in ("summary.json", "rounds.jsonl"):
        with suppress(OSError):
            written = datetime.fromtimestamp((folder / name).stat().st_mtime, UTC)
            return written.date().isoformat()
    return ""


def _bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return b""
    except OSError as error:
        raise RunFolderError(f"cannot read {path}: {error}") from error


def _text(path: Path) -> str:
    return _bytes(path).decode("utf-8", errors="replace").replace("\r\n", "\n")


def _lines(
    path: Path, check: Callable[[Mapping[str, Any], str], L], notes: list[str]
) -> Iterator[L]:
    lines = _bytes(path).split(b"\n")
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        where = f"{path}, line {number}"
        try:
            found = parse_object(line, where)
        except RunFolderError:
            if number < len(lines):
                raise
            notes.append(f"The last line of {path.name} was cut short and is left out.")
        else:
            yield check(found, where)


def _summary(path: Path) -> Summary | None:
    return Summary.read(parse_object(_bytes(path), path), path) if path.is_file() else None


def _key(line: ClientLine) -> tuple[str, int, str]:
    number = line.round if isinstance(line, RanksLine | UpdateLine) else 0
    return line.event, number, line.client


def _by_round(lines: Iterable[RoundLine]) -> list[RoundLine]:
    last = {line.round: line for line in lines}  # a resumed run may repeat a round
    return [last[number] for number in sorted(last)]


def _summed(timings: Iterable[TimingLine]) -> list[TimingLine]:
    """Join the lines of a round: its own, and that of what came after the last one."""
    seconds: dict[int, dict[str, float]] = {}
    for timing in timings:
        of = seconds.setdefault(timing.round, {})
        for part, spent in timing.seconds.items():
            of[part] = of.get(part, 0.0) + (spent or 0.0)
    return [TimingLine(round=number, seconds=seconds[number]) for number in sorted(seconds)]
