"""Run the arms of an experiment by ``polyrank.compare``, and read what its runs have recorded."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import polyrank


def folders(
    settings: Mapping[str, Any],
    arms: Mapping[str, Mapping[str, Any]],
    *,
    seeds: int,
    out: Path,
    jobs: int,
    tune: bool = False,
) -> dict[str, dict[str, Path]]:
    """Run all arms with all seeds, without controls; what is finished is not run again.

    Returns:
        arm -> seed -> the folder of its run.

    Raises:
        SystemExit: runs failed; all others are kept.
    """
    made = polyrank.compare(
        settings, arms=arms, seeds=seeds, out=out, controls=False, tune=tune, jobs=jobs
    )
    if made.failed:
        raise SystemExit("\n".join(f"{out}: {run}: {why}" for run, why in made.failed.items()))
    found: dict[str, dict[str, Path]] = {arm: {} for arm in arms}
    for cell in made.cells:
        found[cell.arm][str(cell.seed)] = cell.folder
    return found


def rounds(run: Path) -> list[dict[str, Any]]:
    """Return a run's record of each round."""
    return [json.loads(line) for line in (run / "rounds.jsonl").read_text("utf-8").splitlines()]


def test_accuracies(run: Path) -> list[float]:
    """Return the accuracy on test rows after each round in which they were asked."""
    return [line["test"]["accuracy"] for line in rounds(run) if line["test"]]
