"""Whether worker processes are worth their start: the rest of a run, by what it took so far."""

from dataclasses import dataclass

from joblib import cpu_count

from polyrank.engines.start import main_can_be_imported
from polyrank.protocol.messages import TaskId
from polyrank.settings.schema import Settings

SAVED = 15.0  # seconds that workers must save; they start in 5 to 8, and imports take CPU time


@dataclass
class Crowding:
    """The pace of the trainings in this process, and how many are to come.

    Args:
        rounds: of the run.
        cohort: clients that train in a round.
        workers: processes that there may be.
        seconds: what trainings have taken so far.
        trained: how many there were.
    """

    rounds: int
    cohort: int
    workers: int
    seconds: float = 0.0
    trained: int = 0

    def took(self, seconds: float) -> None:
        """Count a training."""
        self.seconds += seconds
        self.trained += 1

    def wanted(self, last: TaskId, place: int) -> bool:
        """Whether workers would save more than their start takes.

        Args:
            last: the training that has just ended.
            place: how many of its round are done.
        """
        left = (self.rounds - last.round) * self.cohort + max(0, self.cohort - place)
        alone = left * self.seconds / self.trained
        return alone - alone / self.workers > SAVED


def crowding(settings: Settings, clients: int, on_cpu: bool) -> Crowding | None:
    """Return what decides for ``workers = "auto"``; None where one process is all there may be.

    Processors are counted as a container has them. Workers share no GPU, and a script that calls
    the run without ``if __name__ == "__main__":`` would call it again in each of them.
    """
    cohort = settings.cohort(clients)
    workers = min(cpu_count(), cohort)
    if workers < 2 or not on_cpu or not main_can_be_imported():
        return None
    return Crowding(settings.rounds, cohort, workers)
