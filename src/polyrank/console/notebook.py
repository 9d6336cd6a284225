"""Progress in a notebook: one small card that is written anew in place."""

import html
import sys
import warnings
from collections.abc import Callable
from typing import Any

from polyrank.console.progress import Watcher, round_text
from polyrank.record.lines import RoundLine

Show = Callable[[str], None]  # shows HTML in the place of what was shown before

LAST = 5  # rounds that stay on the card
STYLE = "font-family: monospace; white-space: pre-wrap; line-height: 1.4"


def notebook_watcher() -> Watcher | None:
    """Return what shows progress if this code runs in a notebook, None elsewhere."""
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython else None
    if not getattr(shell, "kernel", None):
        return None
    # of tqdm, which PEFT imports: it misses widgets for bars that are not shown here
    warnings.filterwarnings("ignore", message="IProgress not found")
    return InNotebook(_in_place())


class InNotebook:
    """Shows the stage with a bar, what a person should know, and the last rounds.

    Args:
        show: shows HTML in the place of what it has shown before.
    """

    def __init__(self, show: Show) -> None:
        self._show = show
        self._stage, self._done, self._total = "starting", 0, 0
        self._notes: list[str] = []
        self._rounds: list[str] = []

    def stage(self, text: str, *, told_at_end: bool = False) -> None:
        """Show what begins now."""
        self._stage, self._done, self._total = text, 0, 0
        self._update()

    def note(self, text: str) -> None:
        """Keep a line on the card."""
        self._notes.append(text)
        self._update()

    def turn(self, client: str, done: int, total: int) -> None:
        """Move the bar."""
        self._done, self._total = done, total
        self._update()

    def round(self, line: RoundLine, rounds: int, total_bytes: int) -> None:
        """Add the round's line."""
        self._rounds = [*self._rounds, round_text(line, rounds, total_bytes)][-LAST:]
        if line.round == rounds:
            self._stage, self._total = "evaluating clients", 0
        self._update()

    def _update(self) -> None:
        lines = [html.escape(text) for text in (*self._notes, *self._rounds)]
        bar = f'<progress value="{self._done}" max="{max(1, self._total)}"></progress>'
        turn = f" {bar} {self._done} of {self._total} clients" if self._total else ""
        self._show(
            f'<div style="{STYLE}">{"<br>".join([*lines, html.escape(self._stage) + turn])}</div>'
        )


def _in_place() -> Show:
    from IPython.display import HTML, display

    shown: Any = display(HTML(""), display_id=True)
    return lambda text: shown.update(HTML(text))
