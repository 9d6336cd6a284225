"""What eight bits cost: runs with and without ``compression = "int8"``, accuracy and bytes.

    python benchmarks/compression.py --out RUNS --results FILE.json [--seeds N] [--jobs N]
        [--data FOLDER]

Ten clients of a Dirichlet split with concentration 0.5, 12 rounds of 2 epochs, an MLP of two
hidden layers on a frozen random base, Adam at 0.002 in batches of 64. One rank for all, 8 or 16,
and ranks by need, with steps or whole models down, under the default aggregator; one rank for all
under RBLA too. ``head in full`` trains the last layer in full beside LoRA, so that the head
travels in eight bits as well. Always the digits of scikit-learn, in batches of 8 as they are few;
with ``--data``, a folder that holds ``mnist.npz`` and ``fashion_mnist.npz``, 12,000 training and
4,000 test images of each. Finished runs are kept and not repeated. One thread a process.
"""

import json
from pathlib import Path
from typing import Any

import compared
import samples

NEED: dict[str, Any] = {"allocator": "need"}
STEPS: dict[str, Any] = {"allocator": {"kind": "need", "download_error": 0.05}}
HEAD = {"targets": ["fc1", "fc2"], "extras": "all"}


def uniform(rank: int) -> dict[str, Any]:
    """Return settings of one rank for all."""
    return {"allocator": {"kind": "uniform", "rank": rank}, "ranks": {"r_max": rank}}


ARMS: dict[str, dict[str, Any]] = {
    "anchored, rank 8": uniform(8),
    "anchored, rank 16": uniform(16),
    "anchored, need": NEED,
    "anchored, need, download_error 0.05": STEPS,
    "rbla, rank 8": {**uniform(8), "aggregator": "rbla"},
    "rbla, rank 16": {**uniform(16), "aggregator": "rbla"},
    "anchored, rank 8, head in full": {**uniform(8), "adapter": HEAD},
}
ROUNDS, BITS = 12, ("none", "int8")
TITLE = "What eight bits cost: test accuracy and bytes with and without"


def settings_of(data: str, source: str) -> dict[str, Any]:
    """Return the settings of one federation."""
    return {
        "name": data,
        "rounds": ROUNDS,
        "data": source,
        "partition": {"kind": "dirichlet", "clients": 10, "concentration": 0.5},
        "model": {"kind": "mlp", "hidden": [200, 200]},
        "head_init": "none",
        "training": {
            "optimizer": "adam",
            "learning_rate": 0.002,
            "epochs": 2,
            "batch_size": 8 if source == "digits" else 64,
        },
        "evaluation": {"every": ROUNDS},
    }


def told(run: Path) -> dict[str, Any]:
    """Return of a finished run the accuracy of its last round, and the bytes of all rounds."""
    lines = compared.rounds(run)
    summed = {way: sum(line["bytes"][way] for line in lines) for way in ("up", "down")}
    return {"test_accuracy": lines[-1]["test"]["accuracy"], "bytes": summed}


def main() -> None:
    """Run what is missing, and write what came out."""
    parser = compared.arguments(__doc__, data=False)
    given = parser.parse_args()
    given.out.mkdir(parents=True, exist_ok=True)
    sources = {"digits": "digits"}
    for name in ("mnist", "fashion_mnist") if given.data else ():
        sources[name] = samples.images(given.data / f"{name}.npz", given.out)
    found: dict[str, Any] = {}
    for data, source in sources.items():
        if given.only not in data:
            continue
        arms = {
            f"{arm}, {bits}": {**changes, "compression": bits}
            for arm, changes in ARMS.items()
            for bits in BITS
        }
        settings, out = settings_of(data, source), given.out / data
        runs = compared.folders(settings, arms, seeds=given.seeds, out=out, jobs=given.jobs)
        found[data] = {
            arm: {b: {seed: told(run) for seed, run in runs[f"{arm}, {b}"].items()} for b in BITS}
            for arm in ARMS
        }
    result = {"title": TITLE, "compression": found}
    given.results.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
