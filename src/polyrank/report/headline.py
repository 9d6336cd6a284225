"""The few numbers that say whether a run worked, finished or not."""

from dataclasses import dataclass

from polyrank.report.reading import Run
from polyrank.report.yardstick import Yardstick, yardstick


@dataclass(frozen=True)
class Headline:
    """What one run came to, in the words of the page; None where it was not measured."""

    judged: Yardstick
    final: float | None  # on that yardstick, as are before, worst, shared and personal
    before: float | None
    loss: float | None
    macro_f1: float | None
    balanced_accuracy: float | None
    worst: float | None
    worst_client: str | None
    worst_before: float | None  # what that client had before training; of language models
    shared: float | None  # of the global model, mean over clients, on their own test rows
    personal: float | None  # the same of the clients' own models
    rounds: int
    bytes_up: int
    bytes_down: int
    mean_rank: float | None


def headline(run: Run) -> Headline:
    """Take the numbers from what the run came to."""
    came, judged = run.came_to, yardstick(run)
    final, before, worst = came.final or {}, came.before or {}, came.worst
    began = (worst and worst.before) or {}
    return Headline(
        judged=judged,
        final=final.get(judged.metric),
        before=before.get(judged.metric),
        loss=final.get("loss"),
        macro_f1=final.get("macro_f1"),
        balanced_accuracy=final.get("balanced_accuracy"),
        worst=((worst and worst.shared) or {}).get(judged.metric),
        worst_client=worst.client if worst else None,
        worst_before=began.get(judged.metric) if judged.falls else None,
        shared=came.shared,
        personal=came.personal,
        rounds=run.rounds[-1].round if run.rounds else 0,
        bytes_up=came.up,
        bytes_down=came.down,
        mean_rank=came.mean_rank,
    )
