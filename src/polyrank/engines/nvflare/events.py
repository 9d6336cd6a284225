"""What a run says of its progress, kept in the server's job until the admin has read it."""

import threading
from collections.abc import Mapping
from typing import Any

from polyrank.console.progress import Watcher
from polyrank.record.lines import RoundLine


class Events:
    """A watcher that keeps all it is told as JSON, in order, and how the job has ended."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._told: list[list[Any]] = []
        self.outcome: dict[str, Any] = {}

    def since(self, number: int) -> list[list[Any]]:
        """Return all events from a number on."""
        with self._lock:
            return self._told[number:]

    def _tell(self, *event: object) -> None:
        with self._lock:
            self._told.append(list(event))

    def stage(self, text: str, *, told_at_end: bool = False) -> None:
        """Keep what begins now."""
        self._tell("stage", text, told_at_end)

    def note(self, text: str) -> None:
        """Keep a line."""
        self._tell("note", text)

    def turn(self, client: str, done: int, total: int) -> None:
        """Keep that a client's turn is over."""
        self._tell("turn", client, done, total)

    def round(self, line: RoundLine, rounds: int, total_bytes: int) -> None:
        """Keep that a round is over."""
        self._tell("round", line.as_json(), rounds, total_bytes)


def replay(event: list[Any], watcher: Watcher) -> None:
    """Tell a watcher what ``Events`` was told; an event of another form is left out."""
    match event:
        case ["stage", str(text), bool(told_at_end)]:
            watcher.stage(text, told_at_end=told_at_end)
        case ["note", str(text)]:
            watcher.note(text)
        case ["turn", str(client), int(done), int(total)]:
            watcher.turn(client, done, total)
        case ["round", Mapping() as line, int(rounds), int(total_bytes)]:
            watcher.round(RoundLine.read(dict(line), "a round's event"), rounds, total_bytes)
