"""What a person sees while a run goes on: a live line on a terminal, plain lines elsewhere."""

from types import TracebackType
from typing import Protocol, Self

from rich.console import Console
from rich.filesize import decimal
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from polyrank.judging import Judged, judged_by, perplexity_text
from polyrank.record.lines import RoundLine


class Watcher(Protocol):
    """Receives the progress of a run, to show or log it."""

    def stage(self, text: str, *, told_at_end: bool = False) -> None:
        """Say what begins now; ``told_at_end``: its end is told, too, as that of a round is."""
        ...

    def note(self, text: str) -> None:
        """Say what a person should know before the run goes on."""
        ...

    def turn(self, client: str, done: int, total: int) -> None:
        """Say that a client's turn of this stage is over."""
        ...

    def round(self, line: RoundLine, rounds: int, total_bytes: int) -> None:
        """Say that a round is over: its line in ``rounds.jsonl``, and all bytes sent so far."""
        ...


class Silent:
    """A watcher that shows nothing."""

    def stage(self, text: str, *, told_at_end: bool = False) -> None:
        """Ignore it."""

    def note(self, text: str) -> None:
        """Ignore it."""

    def turn(self, client: str, done: int, total: int) -> None:
        """Ignore it."""

    def round(self, line: RoundLine, rounds: int, total_bytes: int) -> None:
        """Ignore it."""


class WrittenOut(Silent):
    """A watcher that prints what a person should know, and nothing else."""

    def __init__(self, console: Console) -> None:
        self._console = console

    def note(self, text: str) -> None:
        """Print a line."""
        _print_line(self._console, text)


class Shown:
    """Show progress on a console; use as a context manager.

    On a terminal one live line counts the clients of the round; a line per round stays. Elsewhere
    there is a line for every stage.
    """

    def __init__(self, console: Console) -> None:
        self._console = console
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=20),
            MofNCompleteColumn(),
            TextColumn("clients"),
            TimeElapsedColumn(),
            console=console,
            transient=True,
            disable=not console.is_terminal,
        )
        self._task = self._progress.add_task("starting", total=None)

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._progress.stop()

    def stage(self, text: str, *, told_at_end: bool = False) -> None:
        """Show what begins now."""
        self._progress.reset(self._task, description=text, total=None)
        if not self._console.is_terminal and not told_at_end:
            self.note(text)

    def note(self, text: str) -> None:
        """Print a line."""
        _print_line(self._console, text)

    def turn(self, client: str, done: int, total: int) -> None:
        """Move the bar."""
        self._progress.update(self._task, completed=done, total=total)

    def round(self, line: RoundLine, rounds: int, total_bytes: int) -> None:
        """Print the round's line."""
        self._progress.refresh()
        text = round_text(line, rounds, total_bytes)
        self._console.print(text, highlight=False, soft_wrap=True)


def _print_line(console: Console, text: str) -> None:
    console.print(text, highlight=False, markup=False, soft_wrap=True)


def round_text(line: RoundLine, rounds: int, total_bytes: int) -> str:
    """Write one round in at most 80 columns; round 0 is what comes before training."""
    parts = [f"round {line.round:>{len(str(rounds))}}/{rounds}"]
    if line.test:
        name = judged_by(line.test)
        parts += [f"{name} {_number(line.test[name], name)}", f"loss {_number(line.test['loss'])}"]
    clients = len(line.cohort)
    told = f"{clients} client{'' if clients == 1 else 's'}" if line.round else "before training"
    parts += [told, decimal(total_bytes)]
    lost = len(line.refused) + len(line.failed)
    return "  ".join(parts) + (f"  {lost} refused or failed" if lost else "")


def _number(value: float | None, judged: Judged = "accuracy") -> str:
    if value is None:
        return "nan"
    return f"{value:.4f}" if judged == "accuracy" else perplexity_text(value)
