"""What a person is told while a comparison runs: what is over, and how long the rest may take."""

from collections.abc import Iterable, Mapping, Sequence
from statistics import fmean

from polyrank.comparing.cells import Cell
from polyrank.comparing.running import Ended
from polyrank.console.progress import Watcher
from polyrank.record.run_folder import RunFolder
from polyrank.report.reading import read_run
from polyrank.report.words import duration, plural


class Waiting:
    """Count the runs of a comparison, and guess from those that are over.

    Args:
        cells: all runs.
        jobs: how many run at a time.
        watcher: is told.
    """

    def __init__(self, cells: Sequence[Cell], jobs: int, watcher: Watcher) -> None:
        self._all = len(cells)
        self._left = [cell for cell in cells if not cell.finished]
        self._jobs = jobs
        self._watcher = watcher
        self._seconds: dict[str, list[float]] = {}
        for cell in cells:
            if cell.finished:
                self._seconds.setdefault(cell.arm, []).append(_measured(cell))

    def begin(self, what: str) -> None:
        """Say how many runs there are, and how long they may take as far as that is known.

        Args:
            what: they are, such as "2 arms, 3 controls, 5 seeds".
        """
        there = self._all - len(self._left)
        told = f"{plural(self._all, 'run')}: {what}; {self._jobs} at a time"
        kept = f"; {there} there already" if there else ""
        self._watcher.note(f"{told}{kept}; {self.guess}")

    def over(self, ended: Ended) -> None:
        """Say that a run is over."""
        self._left = [cell for cell in self._left if cell.folder != ended.cell.folder]
        if ended.error is None:
            self._seconds.setdefault(ended.cell.arm, []).append(ended.seconds)
            came = RunFolder(ended.cell.folder).read_summary()
            value = came.ended.final
            said = f"{came.judged} {value:.4f}" if value is not None else "own models judged"
        else:
            said = f"failed: {ended.error}"
        done = f"run {self._all - len(self._left)} of {self._all}: {ended.cell.name}: {said}"
        self._watcher.note(f"{done}, {duration(ended.seconds)}; {self.guess}")

    @property
    def guess(self) -> str:
        """How long what is left may take."""
        if not self._left:
            return "that was the last"
        if not self._seconds:
            return "how long is told when the first is over"
        return f"about {duration(round(seconds_left(self._left, self._seconds, self._jobs)))} left"


def seconds_left(
    cells: Iterable[Cell], measured: Mapping[str, Sequence[float]], jobs: int
) -> float:
    """Guess how long runs take: as the mean of their arm's, or of all where it has none yet."""
    usual = fmean(seconds for of in measured.values() for seconds in of)
    means = {arm: fmean(of) for arm, of in measured.items()}
    return sum(means.get(cell.arm, usual) for cell in cells) / jobs


def _measured(cell: Cell) -> float:
    timings = read_run(cell.folder).timings
    return sum(value or 0.0 for timing in timings for value in timing.seconds.values())
