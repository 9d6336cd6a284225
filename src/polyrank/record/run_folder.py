"""The run folder: settings, records, state and summary, each whole or not there.

Records of a round are appended and flushed to the disk before the round's state is
written; the state holds how long each record file was. So whatever interrupts a run,
resuming cuts the records to the last finished round and goes on from its state.
"""

import json
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TypeVar

from polyrank.disk.files import lock, sync_folder, write_whole
from polyrank.disk.outside import as_written
from polyrank.errors import RunFolderError
from polyrank.record.lines import ClientLine, Line, RoundLine, TimingLine, client_line
from polyrank.record.schema import parse_object
from polyrank.record.summary import Summary
from polyrank.settings.schema import Settings
from polyrank.settings.toml import dump_settings, load_settings

L = TypeVar("L", bound=Line)
RECORDS = ("rounds", "clients")  # timings differ from run to run and are kept apart
MADE = ("scaling", "head")  # what clients' sums may have made of the start model
LOCK = ".lock"
ELSEWHERE = "federation.json"


@dataclass(frozen=True)
class Elsewhere:
    """Where a run goes on whose folder is a copy.

    Args:
        federation: as it was given.
        run: the run's name there, which no other has.
        clients: its clients, if they were known when the run began.
    """

    federation: str
    run: str
    clients: tuple[str, ...] = ()


class RunFolder:
    """One run's folder; get it from ``open``, or ``polyrank.record.new_folder``."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.checkpoint = path / "checkpoint"
        self.clients = self.checkpoint / "clients"

    @classmethod
    def open(cls, path: Path) -> "RunFolder":
        """Open an existing run folder.

        Raises:
            RunFolderError: there is no run in it.
        """
        if not (path / "config.toml").is_file():
            raise RunFolderError(f"{path}: expected a run folder with config.toml, got none")
        return cls(path)

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Keep a second process from working in the folder at the same time.

        Raises:
            RunFolderError: another process is at work in it.
        """
        with (self.path / LOCK).open("w") as file:
            try:
                lock(file)
            except OSError as error:
                raise RunFolderError(f"{self.path}: another process is at work here") from error
            yield

    @property
    def settings(self) -> Settings:
        """The resolved settings of the run."""
        return load_settings(self.path / "config.toml")

    def write_settings(self, settings: Settings) -> None:
        """Write ``config.toml``."""
        write_whole(self.path / "config.toml", dump_settings(settings).encode())

    def write_elsewhere(self, where: Elsewhere) -> None:
        """Write that the run goes on elsewhere, and where."""
        write_whole(self.path / ELSEWHERE, json.dumps(asdict(where)).encode())

    @property
    def elsewhere(self) -> Elsewhere | None:
        """Where the run goes on, None if it is here.

        Raises:
            RunFolderError: the file that says so is damaged.
        """
        path = self.path / ELSEWHERE
        if not path.exists():
            return None
        with as_written(path):
            told = parse_object("".join(_texts(path)), path)
            return Elsewhere(told["federation"], told["run"], tuple(told["clients"]))

    def append(self, kind: str, lines: Iterable[Line]) -> None:
        """Append lines to the file of a kind, and flush them to the disk.

        Raises:
            RunFolderError: the disk is full or the folder cannot be written.
        """
        path = self._records(kind)
        text = "".join(json.dumps(line.as_json(), allow_nan=False) + "\n" for line in lines)
        try:
            with path.open("a", encoding="utf-8") as file:
                file.write(text)
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            raise RunFolderError(f"{path}: cannot be written: {error.strerror}") from error

    def read_rounds(self) -> list[RoundLine]:
        """Return the lines of ``rounds.jsonl``.

        Raises:
            RunFolderError: one is none; file, line and key are named.
        """
        return _read(self._records("rounds"), RoundLine.read)

    def read_clients(self) -> list[ClientLine]:
        """Return the lines of ``clients.jsonl``.

        Raises:
            RunFolderError: one is none; file, line and key are named.
        """
        return _read(self._records("clients"), client_line)

    def lengths(self) -> dict[str, int]:
        """Return the length of each record file in bytes."""
        paths = {kind: self._records(kind) for kind in RECORDS}
        return {kind: path.stat().st_size if path.exists() else 0 for kind, path in paths.items()}

    def cut(self, round: int, lengths: Mapping[str, int]) -> None:
        """Cut each record file to its length after a round; the rest is of no finished round.

        Raises:
            RunFolderError: a file is shorter than it was when the state was written.
        """
        self._cut_timings(round)
        for kind in RECORDS:
            path, wanted = self._records(kind), lengths.get(kind, 0)
            length = path.stat().st_size if path.exists() else 0
            if length < wanted:
                raise RunFolderError(f"{path}: expected at least {wanted} bytes, got {length}")
            if length > wanted:
                os.truncate(path, wanted)

    def _cut_timings(self, round: int) -> None:
        path = self._records("timings")
        if path.exists():
            texts = [text for text in _texts(path) if text.endswith("\n")]
            lines = _read(path, TimingLine.read, texts)
            kept = [text for text, line in zip(texts, lines, strict=True) if line.round <= round]
            write_whole(path, "".join(kept).encode())

    def state_path(self, round: int) -> Path:
        """Return where the state after a round is."""
        return self.checkpoint / f"round-{round:06d}.safetensors"

    def last_state(self) -> Path | None:
        """Return the newest state, or None if no round was saved."""
        return next(iter(self.states()), None)

    def states(self) -> list[Path]:
        """Return the states that are there, the newest first."""
        found = self.checkpoint.glob("round-*.safetensors")
        return sorted((path for path in found if path.is_file()), reverse=True)

    def forget_states_before(self, round: int) -> None:
        """Remove all states before that of a round, and what an interrupted write left."""
        for path in self.checkpoint.glob("round-*.safetensors"):
            if path < self.state_path(round) and not path.is_dir():
                path.unlink()
        for folder in (self.path, self.checkpoint, self.clients):
            for path in folder.glob(".*.tmp"):
                if not path.is_dir():
                    path.unlink()
        sync_folder(self.checkpoint)

    def write_summary(self, summary: Summary) -> None:
        """Write ``summary.json``, which only a finished run has."""
        text = json.dumps(summary.as_json(), indent=2, allow_nan=False)
        write_whole(self.path / "summary.json", text.encode())

    @property
    def finished(self) -> bool:
        """Whether the run came to its end."""
        return (self.path / "summary.json").exists()

    def read_summary(self) -> Summary:
        """Return the summary.

        Raises:
            RunFolderError: the run has not finished, or the file is damaged; the key is named.
        """
        path = self.path / "summary.json"
        if not path.is_file():
            raise RunFolderError(
                f"{self.path}: expected summary.json, as a finished run has it, got none"
            )
        return Summary.read(parse_object("".join(_texts(path)), path), path)

    def _records(self, kind: str) -> Path:
        return self.path / f"{kind}.jsonl"


def _texts(path: Path) -> list[str]:
    """Return the lines of a text file with their ends; none of one that is not there."""
    try:
        return path.read_text(encoding="utf-8").splitlines(keepends=True)
    except FileNotFoundError:
        return []
    except (OSError, UnicodeDecodeError) as error:
        raise RunFolderError(f"{path}: cannot be read: {error}") from error


def _read(
    path: Path,
    check: Callable[[dict[str, Any], str], L],
    texts: Iterable[str] | None = None,
) -> list[L]:
    """Check the lines of a file, or those of them that are given."""
    numbered = enumerate(_texts(path) if texts is None else texts, 1)
    places = ((text, f"{path}, line {at}") for at, text in numbered)
    return [check(parse_object(text, where), where) for text, where in places]
