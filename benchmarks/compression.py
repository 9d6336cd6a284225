"""What eight bits cost: runs with and without ``compression = "int8"``, accuracy and bytes.

    python benchmarks/compression.py --out RUNS --results FILE.json [--seeds N]
        [--images FILE.npz ...] [--only TEXT]

Ten clients of a Dirichlet split with concentration 0.5, 12 rounds of 2 epochs, an MLP of two
hidden layers on a frozen random base, Adam at 0.002 in batches of 64. One rank for all, 8 or 16,
and ranks by need, with steps or whole models down, under the default aggregator; one rank for all
under RBLA too. ``head in full`` trains the last layer in full beside LoRA, so that the head
travels in eight bits as well. Always the digits of scikit-learn, in batches of 8 as they are few,
and each ``.npz`` file that is named. Finished runs are kept and not repeated; the results hold
what is finished after each seed. One process of one thread.
"""

import argparse
import json
from pathlib import Path
from typing import Any

import polyrank
from polyrank.settings.toml import make_settings
from polyrank.threads import one_thread

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
    "rbla, rank 8": {**uniform(8), "aggregator": "rbla", "recipe": "safe"},
    "rbla, rank 16": {**uniform(16), "aggregator": "rbla", "recipe": "safe"},
    "anchored, rank 8, head in full": {**uniform(8), "adapter": HEAD},
}
ROUNDS = 12
TITLE = "What eight bits cost: test accuracy and bytes with and without"


def settings_of(source: str, arm: str, compression: str, seed: int) -> dict[str, Any]:
    """Return the settings of one run."""
    return {
        "name": f"{arm}, {compression}",
        "seed": seed,
        "rounds": ROUNDS,
        "workers": 1,
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
        "compression": compression,
        **ARMS[arm],
    }


def told(run: Path) -> dict[str, Any]:
    """Return of a finished run the accuracy of its last round, and the bytes of all rounds."""
    lines = [json.loads(line) for line in (run / "rounds.jsonl").read_text().splitlines()]
    summed = {way: sum(line["bytes"][way] for line in lines) for way in ("up", "down")}
    return {"test_accuracy": lines[-1]["test"]["accuracy"], "bytes": summed}


def main() -> None:
    """Run what is missing, seed by seed, and write what came out."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--results", type=Path, required=True)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--images", type=Path, nargs="*", default=[])
    parser.add_argument("--only", default="")
    given = parser.parse_args()
    sources = {"digits": "digits", **{p.stem: f"npz:{p}" for p in given.images}}
    found: dict[str, Any] = {}
    for seed in range(given.seeds):
        for data, source in sources.items():
            for arm in (a for a in ARMS if given.only in a):
                for compression in ("none", "int8"):
                    run = given.out / f"{data}.{arm}.{compression}.{seed}".replace(" ", "_")
                    document = settings_of(source, arm, compression, seed)
                    if not (run / "summary.json").exists():
                        polyrank.run(make_settings(document), out=run)
                    by_arm = found.setdefault(data, {}).setdefault(arm, {})
                    by_arm.setdefault(compression, {})[str(seed)] = told(run)
                    print(data, arm, compression, seed, told(run), flush=True)
        result = {"title": TITLE, "compression": found}
        given.results.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    with one_thread():
        main()
