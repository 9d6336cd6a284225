"""What alpha / r does to an average slot by slot: RBLA on the digits.

    python benchmarks/scaling.py --out RUNS --results FILE.json [--seeds 3] [--jobs N]

The staircase of the paper: client i of ten holds the digits 0..i, and its rank is 0.1, 0.2, ...,
1.0 of the largest, or the other way round. Each scaling with each order takes the best of three
learning rates on validation rows, at a seed of its own. Finished runs are kept and not repeated.
"""

import json
from pathlib import Path
from typing import Any

import compared

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


def told(scaling: str, order: str, seed: str, run: Path) -> dict[str, Any]:
    """Return what the result file keeps of a run."""
    tests = compared.test_accuracies(run)
    return {
        "scaling": scaling,
        "order": order,
        "seed": int(seed),
        "learning_rate": polyrank.load_settings(run / "config.toml").training.learning_rate,
        "accuracy": round(sum(tests[-LAST:]) / LAST, 4),
        "rounds": [round(value, 4) for value in tests],
    }


def main() -> None:
    """Run what is missing and write one JSON."""
    parser = compared.arguments(__doc__, tune=1)
    given = parser.parse_args()
    arms = {name: {"allocator": {"kind": "ratio", "ratios": of}} for name, of in ORDERS.items()}
    found = []
    for scaling in (name for name in SCALINGS if given.only in name):
        runs = compared.folders(
            settings(scaling),
            arms,
            seeds=given.seeds,
            out=given.out / scaling.replace(" ", "_"),
            jobs=given.jobs,
            tune=given.tune_seeds,
        )
        found += [told(scaling, o, seed, run) for o, of in runs.items() for seed, run in of.items()]
    result = {
        "title": "RBLA on the digits by scaling and order of the ranks",
        "scaling": {"settings": settings("constant 1"), "runs": found},
    }
    given.results.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
