"""The numbers of a comparison: a row a run, and a row an arm."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean, stdev
from typing import Any

from polyrank.comparing.cells import Cell
from polyrank.report.ahead import is_control
from polyrank.report.arms import Arm
from polyrank.report.comparison import BASE
from polyrank.report.headline import headline
from polyrank.report.paired import final_of, over_seeds
from polyrank.report.reading import Run
from polyrank.report.target import reached, validated
from polyrank.report.yardstick import yardstick

Row = dict[str, Any]
MEANS = (  # of runs, that an arm's row has
    *("worst_client", "own_models", "validation", "rounds_to_target", "bytes_to_target", "bytes"),
    *("mean_rank", "seconds", "federated_seconds", "federated_seconds_to_target"),
)


@dataclass(frozen=True)
class Done:
    """A run of a comparison that came to its end.

    Args:
        cell: which.
        run: what it recorded.
        federated: seconds of each round on the clients' devices, if that was asked for.
    """

    cell: Cell
    run: Run
    federated: Mapping[int, float] | None = None


def run_row(done: Done, target: float | None, *, control: bool) -> Row:
    """Return what one run came to; a control has no federation whose traffic counts."""
    run, cell = done.run, done.cell
    got, judged = headline(run), yardstick(run)
    ends = [v for line in run.rounds if (v := validated(line, judged)) is not None]
    there = None if target is None or control else reached(run, target)
    federated = None if control else done.federated
    return {
        "arm": cell.arm,
        "seed": cell.seed,
        judged.metric: got.final,
        "before": got.before,
        "validation": None if run.only_personal or not ends else ends[-1],
        "macro_f1": got.macro_f1,
        "balanced_accuracy": got.balanced_accuracy,
        "worst_client": got.worst,
        "own_models": got.personal,
        "rounds_to_target": there and there.round,
        "bytes_to_target": there and there.bytes,
        "bytes_up": got.bytes_up,
        "bytes_down": got.bytes_down,
        "bytes": got.bytes_up + got.bytes_down,
        "mean_rank": got.mean_rank,
        "learning_rate": cell.settings.training.learning_rate,
        "seconds": sum(v or 0.0 for line in run.timings for v in line.seconds.values()),
        "federated_seconds": federated and sum(federated.values()),
        "federated_seconds_to_target": federated
        and there
        and sum(took for at, took in federated.items() if at <= there.round),
        "folder": str(cell.folder),
    }


def run_rows(runs: Sequence[Done], target: float | None) -> list[Row]:
    """Return a row for each run that came to its end."""
    every = [done.run for done in runs]
    return [run_row(done, target, control=is_control(done.run, every)) for done in runs]


def arm_rows(rows: Sequence[Row], arms: Sequence[Arm], asked: Mapping[str, int]) -> list[Row]:
    """Return a row for each arm: means over its seeds, and differences to the first arm.

    Args:
        rows: of the runs.
        arms: those with a finished run, the one that others are compared with first.
        asked: every arm -> how many runs of it there should be.
    """
    found = [_arm_row(arm, rows, arms[0], asked[arm.name]) for arm in arms]
    known = {arm.name for arm in arms}
    found += [
        {"arm": name, "seeds": 0, "failed": n} for name, n in asked.items() if name not in known
    ]
    if arms:
        judged = yardstick(arms[0].seeds[0]).metric
        before = [row["before"] for row in rows if row["arm"] == arms[0].name]
        values = [value for value in before if value is not None]
        if values:
            found.append({"arm": BASE, "seeds": len(values), **_spread(judged, values)})
    return found


def _arm_row(arm: Arm, rows: Sequence[Row], against: Arm, asked: int) -> Row:
    own = [row for row in rows if row["arm"] == arm.name]
    judged = yardstick(arm.seeds[0])
    known = [row[judged.metric] for row in own if row[judged.metric] is not None]
    other = arm is not against
    paired = over_seeds(arm, against, final_of(judged)) if other else None
    found: Row = {"arm": arm.name, "seeds": len(own), **_spread(judged.metric, known)}
    found |= {
        "difference": paired and paired.mean,
        "difference_low": paired and paired.low,
        "difference_high": paired and paired.high,
        "pairs": paired.count if paired else 0,
    }
    for name in MEANS:
        values = [row[name] for row in own if row[name] is not None]
        found[name] = fmean(values) if values else None
    found["reach_target"] = sum(row["rounds_to_target"] is not None for row in own)
    found["learning_rate"] = own[0]["learning_rate"]
    found["failed"] = asked - len(own)
    return found


def _spread(name: str, values: Sequence[float]) -> Row:
    mean = fmean(values) if values else None
    return {name: mean, f"{name}_sd": stdev(values) if len(values) > 1 else None}
