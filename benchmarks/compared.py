"""Run the arms of an experiment by ``polyrank.compare``, and read what its runs have recorded."""

import argparse
import json
import resource
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import polyrank
from polyrank.engines.start import fork_context

ROUNDS = "rounds.jsonl"


def arguments(
    about: str | None, *, seeds: int = 3, tune: int | None = None, data: bool | None = None
) -> argparse.ArgumentParser:
    """Return a parser of what every experiment takes.

    Args:
        about: of which the first line is told.
        seeds: how many it has if nothing is said.
        tune: with how many seeds each learning rate is tried if nothing is said; None if rates are
            never chosen.
        data: whether a folder of data sets has to be there; None if it takes none.
    """
    parser = argparse.ArgumentParser(description=(about or "").partition("\n")[0])
    parser.add_argument("--out", type=Path, required=True, help="folder of the runs")
    parser.add_argument("--results", type=Path, required=True, help="what they came to")
    if data is not None:
        parser.add_argument("--data", type=Path, required=data, help="folder of data sets")
    parser.add_argument("--seeds", type=int, default=seeds, help="at most")
    if tune is not None:
        help_ = "seeds that each learning rate is tried with; 0: rates as they are"
        parser.add_argument("--tune-seeds", type=int, default=tune, help=help_)
    parser.add_argument("--jobs", type=int, default=1, help="runs at a time")
    parser.add_argument("--only", default="", help="part of a federation's name")
    return parser


def folders(
    settings: Mapping[str, Any],
    arms: Mapping[str, Mapping[str, Any]],
    *,
    seeds: int | Sequence[int],
    out: Path,
    jobs: int,
    tune: int = 0,
    failing: bool = False,
) -> dict[str, dict[str, Path]]:
    """Run all arms with all seeds, without controls; what is finished is not run again.

    Args:
        settings: of all arms.
        arms: what each arm changes.
        seeds: how many, or which.
        out: folder of the runs.
        jobs: runs at a time.
        tune: with how many seeds each learning rate is tried; at 0 rates stay as they are.
        failing: take runs that failed as far as they came, if they had a round.

    Returns:
        arm -> seed -> the folder of its run.

    Raises:
        SystemExit: runs failed; all others are kept.
    """
    made = polyrank.compare(
        settings,
        arms=arms,
        seeds=seeds,
        out=out,
        controls=False,
        tune=tune > 0,
        tune_seeds=max(tune, 1),
        jobs=jobs,
    )
    begun = {cell.name for cell in made.cells if failing and (cell.folder / ROUNDS).exists()}
    if failed := {run: why for run, why in made.failed.items() if run not in begun}:
        raise SystemExit("\n".join(f"{out}: {run}: {why}" for run, why in failed.items()))
    found: dict[str, dict[str, Path]] = {arm: {} for arm in arms}
    for cell in made.cells:
        found[cell.arm][str(cell.seed)] = cell.folder
    return found


def rounds(run: Path) -> list[dict[str, Any]]:
    """Return a run's record of each round."""
    return [json.loads(line) for line in (run / ROUNDS).read_text("utf-8").splitlines()]


def test_accuracies(run: Path) -> list[float]:
    """Return the accuracy on test rows after each round in which they were asked."""
    return [line["test"]["accuracy"] for line in rounds(run) if line["test"]]


def apart(call: Callable[..., dict[str, Any]], *given: Any) -> dict[str, Any]:
    """Call a function in a process of its own, and add the peak of memory of that process, in MiB.

    Libraries are imported once for all such processes.
    """
    start = fork_context("__main__", "polyrank.runs.simulation", "transformers", "peft")
    with ProcessPoolExecutor(1, start) as pool:
        return pool.submit(_with_peak, call, *given).result()


def _with_peak(call: Callable[..., dict[str, Any]], *given: Any) -> dict[str, Any]:
    found = call(*given)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return {**found, "peak_mib": round(peak / 1024)}
