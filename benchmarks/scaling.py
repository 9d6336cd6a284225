"""What alpha / r does to an average slot by slot: RBLA on the digits.

    python benchmarks/scaling.py [--seeds 3] [--jobs 1] [--runs FOLDER] [--out FILE]

The staircase of the paper: client i of ten holds the digits 0..i, and its rank is 0.1, 0.2, ...,
1.0 of the largest, or the other way round. Each scaling with each order takes the best of three
learning rates on validation rows, at a seed of its own. Interrupted, it goes on where it was with
the same ``--runs``.
"""

import argparse
import json
import tempfile
from pathlib import Path
from typing import Any

import polyrank

SCALINGS = {"constant 1": 1.0, "2 per rank": {"alpha": 2.0, "per": "rank"}}
ORDERS = {"staircase": [0.1, 1.0], "reversed": [1.0, 0.1]}
RATES = {"constant 1": 0.001, "2 per rank": 0.009}  # in the middle of the three that are tried
LAST = 5  # rounds whose mean accuracy is kept


def settings(scaling: str) -> dict[str, Any]:
    """Return the federation with a scaling."""
    return {
        "name": "scaling",
        "rounds": 15,
        "data": "digits",
        "partition": {"kind": "staircase", "clients": 10},
        "model": {"kind": "mlp", "hidden": [200, 200]},
        "aggregator": "rbla",
        "adapter": {"scaling": SCALINGS[scaling]},
        "ranks": {"r_min": 1, "r_max": 64, "modules": {"fc3": {"r_min": 10, "r_max": 10}}},
        "training": {"epochs": 5, "batch_size": 64, "learning_rate": RATES[scaling]},
    }


def measured(scaling: str, folder: Path, seeds: int, jobs: int) -> list[dict[str, Any]]:
    """Run a scaling with both orders of the ranks, and return what is kept of each run."""
    made = polyrank.compare(
        settings(scaling),
        arms={name: {"allocator": {"kind": "ratio", "ratios": of}} for name, of in ORDERS.items()},
        seeds=seeds,
        out=folder,
        controls=False,
        jobs=jobs,
    )
    kept = []
    for cell in made.cells:
        rounds = [json.loads(x) for x in (cell.folder / "rounds.jsonl").read_text().splitlines()]
        tests = [line["test"]["accuracy"] for line in rounds]
        run = polyrank.load_settings(cell.folder / "config.toml")
        kept.append(
            {
                "scaling": scaling,
                "order": cell.arm,
                "seed": cell.seed,
                "learning_rate": run.training.learning_rate,
                "accuracy": round(sum(tests[-LAST:]) / LAST, 4),
                "rounds": [round(value, 4) for value in tests],
            }
        )
    return kept


def main() -> None:
    """Run what is asked for and write one JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--out", type=Path, default=Path("results/scaling.json"))
    parser.add_argument("--runs", type=Path, default=None)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as made:
        at = given.runs or Path(made)
        runs = [
            run
            for number, scaling in enumerate(SCALINGS)
            for run in measured(scaling, at / str(number), given.seeds, given.jobs)
        ]
    result = {
        "title": "RBLA on the digits by scaling and order of the ranks",
        "scaling": {"settings": settings("constant 1"), "runs": runs},
    }
    given.out.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
