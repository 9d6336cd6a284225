"""Read a run folder, finished or not.

A line that a crash cut short is left out with a note; any other line that does not fit
is an error that names the file, the line and the field.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar

from pydantic import ValidationError

from polyrank.disk.outside import parse_json
from polyrank.errors import RunFolderError
from polyrank.report.records import (
    ClientUpdate,
    Final,
    Profile,
    Record,
    Round,
    Run,
    Summary,
    Timing,
)

R = TypeVar("R", bound=Record)
EVENTS: Mapping[str, type[Record]] = {"profile": Profile, "update": ClientUpdate, "final": Final}
Line = tuple[str, Any]  # where it stands, what it holds


def read_run(folder: Path) -> Run:
    """Read the run in ``folder``; a run without summary.json counts as unfinished.

    Raises:
        RunFolderError: no such run, or a file holds something that is not a run's record.
    """
    if not any((folder / name).is_file() for name in ("config.toml", "rounds.jsonl")):
        raise RunFolderError(f"no run in {folder}: expected config.toml or rounds.jsonl in it")
    notes: list[str] = []
    rounds = [_record(Round, *line) for line in _lines(folder / "rounds.jsonl", notes)]
    timings = [_record(Timing, *line) for line in _lines(folder / "timings.jsonl", notes)]
    events = [
        _record(EVENTS[line[1]["event"]], *line)
        for line in _lines(folder / "clients.jsonl", notes)
        if isinstance(line[1], dict) and str(line[1].get("event")) in EVENTS
    ]
    return Run(
        folder=folder,
        settings=_text(folder / "config.toml"),
        rounds=_by_round(rounds),
        timings=_summed(timings),
        profiles=_by_client(event for event in events if isinstance(event, Profile)),
        updates=_updates(event for event in events if isinstance(event, ClientUpdate)),
        finals=_by_client(event for event in events if isinstance(event, Final)),
        summary=_summary(folder / "summary.json"),
        notes=tuple(notes),
    )


def natural(name: str) -> tuple[tuple[int, int, str], ...]:
    """Return a sort key by which "client 2" comes before "client 10"."""
    parts = re.split(r"([0-9]+)", name)
    return tuple((0, int(part), "") if part.isdecimal() else (1, 0, part) for part in parts if part)


def _bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return b""
    except OSError as error:
        raise RunFolderError(f"cannot read {path}: {error}") from error


def _text(path: Path) -> str:
    return _bytes(path).decode("utf-8", errors="replace").replace("\r\n", "\n")


def _lines(path: Path, notes: list[str]) -> Iterator[Line]:
    lines = _bytes(path).split(b"\n")
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            yield f"{path}, line {number}", parse_json(line)
        except ValueError as error:
            if number < len(lines):
                raise RunFolderError(f"{path}, line {number}: not JSON: {error}") from error
            notes.append(f"The last line of {path.name} was cut short and is left out.")


def _record(kind: type[R], where: str, value: object) -> R:
    try:
        return kind.model_validate(value)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        field = ".".join(str(part) for part in first["loc"]) or "the record"
        raise RunFolderError(f"{where}: {field}: {first['msg']}") from error


def _summary(path: Path) -> Summary | None:
    if not path.is_file():
        return None
    try:
        return _record(Summary, str(path), parse_json(_bytes(path)))
    except ValueError as error:
        raise RunFolderError(f"{path}: not JSON: {error}") from error


def _by_round(records: Iterable[Any]) -> tuple[Any, ...]:
    last = {record.round: record for record in records}  # a resumed run may repeat a round
    return tuple(last[number] for number in sorted(last))


def _summed(timings: Iterable[Timing]) -> tuple[Timing, ...]:
    """Join the lines of a round: its own, and that of what came after the last one."""
    seconds: dict[int, dict[str, float]] = {}
    for timing in timings:
        of = seconds.setdefault(timing.round, {})
        for part, spent in timing.seconds.items():
            of[part] = of.get(part, 0.0) + (spent or 0.0)
    return tuple(Timing(round=number, seconds=seconds[number]) for number in sorted(seconds))


def _by_client(records: Iterable[Any]) -> tuple[Any, ...]:
    last = {record.client: record for record in records}
    return tuple(last[client] for client in sorted(last, key=natural))


def _updates(records: Iterable[ClientUpdate]) -> tuple[ClientUpdate, ...]:
    last = {(record.round, record.client): record for record in records}
    return tuple(sorted(last.values(), key=lambda update: (update.round, natural(update.client))))
