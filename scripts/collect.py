"""Collect finished runs into one result file, an arm for each way to choose and to aggregate.

    python scripts/collect.py --out results/NAME.json --title "..." RUN...

A result file holds, for each arm and seed, the test accuracy by round and what the summary
says; figures and tables are made from these files alone.
"""

import argparse
import json
import tomllib
from pathlib import Path
from typing import Any

from polyrank.record.lines import UpdateLine
from polyrank.record.run_folder import RunFolder
from polyrank.report import read_run
from polyrank.report.arms import settings_of

KEPT = (
    "accuracy",
    "macro_f1",
    "balanced_accuracy",
    "worst_client",
    "personal",
    "bytes",
    "mean_rank",
)


def collect(runs: list[Path], title: str) -> dict[str, Any]:
    """Read run folders; runs of one arm must differ in nothing but the seed."""
    arms: dict[str, dict[str, Any]] = {}
    settings: dict[str, Any] = {}
    for run in runs:
        folder = RunFolder.open(run)
        summary = folder.read_summary().as_json()
        arm = name_of(run, summary)
        if settings_of(read_run(run)) != settings.setdefault(arm, settings_of(read_run(run))):
            raise SystemExit(f"{run}: its settings differ from those of another run of {arm!r}")
        seed = str(summary["seed"])
        if seed in arms.setdefault(arm, {}):
            raise SystemExit(f"{run}: seed {seed} of {arm!r} was given twice")
        arms[arm][seed] = {
            "test_accuracy": [(line.test or {}).get("accuracy") for line in folder.read_rounds()],
            "numbers_a_round": numbers_sent(run),
            **{key: summary[key] for key in KEPT},
        }
    return {"title": title, "arms": arms}


def name_of(run: Path, summary: dict[str, Any]) -> str:
    """Name a run by its allocator, its aggregator and the server's help."""
    settings = tomllib.loads((run / "config.toml").read_text())
    parts = [summary["allocator"], summary["aggregator"]]
    if parts[1] == "hetlora" and parts[0] != "hetlora":
        parts[1] = "hetlora without its pruning"
    if settings["server_optimizer"]["kind"] != "none":
        parts.append(settings["server_optimizer"]["kind"])
    if settings["average"]:
        parts.append("average")
    return " + ".join(parts)


def numbers_sent(run: Path) -> int:
    """Numbers sent to all clients in round 1, extras included."""
    updates = [line for line in RunFolder(run).read_clients() if isinstance(line, UpdateLine)]
    return sum(line.bytes.down for line in updates if line.round == 1) // 4


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--title", required=True)
    parser.add_argument("runs", type=Path, nargs="+")
    given = parser.parse_args()
    given.out.write_text(json.dumps(collect(given.runs, given.title), indent=1) + "\n")
    print(f"written: {given.out}")
