"""When runs reach a target on validation rows, and what they have sent until then.

Test rows choose nothing: the target is one of the server's validation rows.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean

from polyrank.record.lines import RoundLine
from polyrank.report.arms import Arm
from polyrank.report.parts import Cell, Column, Part, Sheet
from polyrank.report.reading import Run
from polyrank.report.words import NOTHING, number, size
from polyrank.report.yardstick import Yardstick, yardstick

SHARE = 0.95  # of what the first arm comes to, where no target is given


@dataclass(frozen=True)
class Reached:
    """The first round in which a run is at the target, and the bytes of both ways until then."""

    round: int
    bytes: int


def validated(line: RoundLine, judged: Yardstick) -> float | None:
    """Return what the global model comes to on the validation rows after a round."""
    return (line.validation or {}).get(judged.metric)


def usual_target(arm: Arm) -> float | None:
    """Return 0.95 of what an arm comes to on validation rows, mean over seeds; None without any.

    A language model's perplexity is divided by that, since it falls.
    """
    judged = yardstick(arm.seeds[0])
    ends = [[validated(line, judged) for line in run.rounds] for run in arm.seeds]
    finals = [known[-1] for of in ends if (known := [v for v in of if v is not None])]
    if not finals:
        return None
    return fmean(finals) / SHARE if judged.falls else fmean(finals) * SHARE


def reached(run: Run, target: float) -> Reached | None:
    """Return when a run is at a target for the first time after training; None if it never is."""
    judged, sent = yardstick(run), 0
    for line in run.rounds:
        sent += line.bytes.total
        value = validated(line, judged)
        if line.round and value is not None and _there(value, target, judged):
            return Reached(line.round, sent)
    return None


def to_target(arms: Sequence[Arm], target: float, judged: Yardstick) -> list[Part]:
    """Return the table of rounds and bytes until each arm of a federation is at the target."""
    rows: list[list[Cell]] = []
    for arm in arms:
        of = [run for run in arm.seeds if yardstick(run) is judged]
        if of:
            rows.append([arm.name, *_cells([reached(run, target) for run in of])])
    if not rows:
        return []
    columns = [Column("Arm"), Column("Runs that reach it"), Column("Rounds"), Column("Bytes")]
    caption = (
        f"Until {judged.metric} on validation rows is {judged.show(target)} for the first time: "
        "means over the runs that reach it"
    )
    return [Sheet(f"target-{judged.metric}", caption, columns, rows)]


def _cells(found: Sequence[Reached | None]) -> list[Cell]:
    there = [of for of in found if of]
    count = f"{len(there)} of {len(found)}"
    if not there:
        return [count, NOTHING, NOTHING]
    rounds, spent = fmean(of.round for of in there), fmean(of.bytes for of in there)
    return [count, number(rounds), size(spent)]


def _there(value: float, target: float, judged: Yardstick) -> bool:
    return value <= target if judged.falls else value >= target
