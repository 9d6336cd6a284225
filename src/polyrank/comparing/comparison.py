"""A comparison that has been made: its numbers as data frames and tables, its page."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from polyrank.comparing.cells import Cell
from polyrank.comparing.rows import Done, Row, arm_rows, run_rows
from polyrank.comparing.tables import as_latex, as_markdown, table
from polyrank.comparing.tuning import Tuned
from polyrank.errors import RunFolderError
from polyrank.record.run_folder import RunFolder
from polyrank.report.arms import Arm
from polyrank.report.frames import data_frame
from polyrank.report.target import usual_target
from polyrank.runs.result import Result


@dataclass(frozen=True)
class Comparison:
    """Arms and seeds side by side.

    Args:
        folder: where everything is.
        cells: all runs that are compared, also those that failed.
        done: those that came to their end.
        tuned: the learning rates that were tried.
        failed: name of a run -> why it failed.
        notes: what a person should know, in plain words.
        asked_target: accuracy, or perplexity, on validation rows; None for the usual one.
    """

    folder: Path
    cells: Sequence[Cell]
    done: Sequence[Done]
    tuned: Sequence[Tuned]
    failed: Mapping[str, str]
    notes: Sequence[str]
    asked_target: float | None = None

    @property
    def page(self) -> Path:
        """The page about it, one HTML file."""
        return self.folder / "compare.html"

    @property
    def runs(self) -> Any:  # noqa: ANN401 - a DataFrame; pandas is optional
        """One row a run that came to its end: arm, seed, what it came to, what it cost."""
        return data_frame(run_rows(self.done, self.target), "arm")

    @property
    def arms(self) -> Any:  # noqa: ANN401
        """One row an arm: means over its seeds, and differences to the first with their ends."""
        return data_frame(self.arm_rows, "arm")

    def result(self, arm: str, seed: int) -> Result:
        """Return one run, as ``polyrank.run`` does.

        Raises:
            RunFolderError: there is no such run, or it failed.
        """
        for done in self.done:
            if (done.cell.arm, done.cell.seed) == (arm, seed):
                folder = done.cell.folder
                return Result(folder, RunFolder(folder).read_summary().as_json())
        known = ", ".join(done.cell.name for done in self.done)
        raise RunFolderError(
            f"expected a finished run, got {arm!r}, seed {seed}; there are {known}"
        )

    def to_markdown(self) -> str:
        """Return the table of the arms as Markdown."""
        return as_markdown(*table(self.arm_rows, self.target))

    def to_latex(self) -> str:
        """Return the table of the arms for LaTeX with the package booktabs."""
        return as_latex(*table(self.arm_rows, self.target))

    @cached_property
    def target(self) -> float | None:
        """The accuracy, or perplexity, on validation rows that counts as reached."""
        if self.asked_target is not None or not self.report_arms:
            return self.asked_target
        return usual_target(self.report_arms[0])

    @cached_property
    def report_arms(self) -> list[Arm]:
        """The arms with their runs that came to their end, in order; without any, none."""
        names = dict.fromkeys(cell.arm for cell in self.cells)
        found = {name: [d.run for d in self.done if d.cell.arm == name] for name in names}
        return [Arm(name, runs, runs) for name, runs in found.items() if runs]

    @cached_property
    def arm_rows(self) -> list[Row]:
        """What ``arms`` holds, as plain mappings."""
        asked = {cell.arm: 0 for cell in self.cells}
        for cell in self.cells:
            asked[cell.arm] += 1
        return arm_rows(run_rows(self.done, self.target), self.report_arms, asked)

    def as_json(self) -> dict[str, Any]:
        """Return all numbers, as ``comparison.json`` has them."""
        return {
            "arms": self.arm_rows,
            "runs": run_rows(self.done, self.target),
            "target": self.target,
            "learning_rates": {
                one.arm: {"taken": one.best, "tries": {f"{r:g}": one.shown(r) for r in one.tries}}
                for one in self.tuned
            },
            "failed": dict(self.failed),
            "notes": list(self.notes),
        }
