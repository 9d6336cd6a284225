"""Where every label has one owner: a new head on a pre-trained text model, made first or drawn.

    pip install 'polyrank[demo]'
    python benchmarks/one_owner.py FOLDER --out RUNS --results FILE.json [--seeds N]

FOLDER holds Banking77 as for ``text_federation.py``, whose rows, model and learning rates these
are. Eleven clients have seven of the 77 intents each, and each intent is one client's. ``default``
names nothing: the head is made from sums of features (``head_init = "auto"``). The other arms
start from a head drawn from the seed. Four rounds of one epoch with the default aggregator, and
``alone`` with as many epochs; AutoRank, ranks 2 to 16. One process of one thread. Finished runs
are kept and not repeated.
"""

import argparse
import json
from pathlib import Path
from typing import Any

from text_federation import MODEL, PLAIN, drawn, told

import polyrank
from polyrank.settings.toml import make_settings
from polyrank.threads import one_thread

ROUNDS, WHERE = 4, "one owner a label"
ARMS: dict[str, dict[str, Any]] = {
    "default": {},
    "head at random": {"head_init": "none"},
    "alone": {"head_init": "none", "rounds": 1, "aggregator": "fedavg", "allocator": "uniform"},
}


def settings_of(arm: str, seed: int, source: str, test: str) -> dict[str, Any]:
    """Return the settings of one run."""
    document: dict[str, Any] = {
        "name": arm,
        "seed": seed,
        "rounds": ROUNDS,
        "data": {"source": source, "test_path": test, "validation": 0.05, "client_test": 0.16},
        "partition": {"kind": "pathological", "clients": 11, "labels_per_client": 7},
        "model": {"kind": "hf", "name": MODEL, "max_length": 32},
        "adapter": {"targets": ["query", "value"]},
        "ranks": {"r_min": 2, "r_max": 16, "budget": {"mean_rank": 8}},
        "training": {
            "learning_rate": 0.002,
            "head_learning_rate": 0.01,
            "batch_size": 32,
            "epochs": ROUNDS if arm == "alone" else 1,
        },
        "evaluation": {"every": ROUNDS},
    }
    return document | ARMS[arm] | (PLAIN if arm == "alone" else {})


def main() -> None:
    """Run what is missing, and write what came out."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--results", type=Path, required=True)
    parser.add_argument("--seeds", type=int, default=3)
    given = parser.parse_args()
    given.out.mkdir(parents=True, exist_ok=True)
    source, test = drawn(given.folder, given.out), str(given.folder / "banking77_test.csv.gz")
    found: dict[str, dict[str, Any]] = {}
    for seed in range(given.seeds):
        for arm in ARMS:
            run = given.out / f"{arm}.{seed}".replace(" ", "_")
            if not (run / "summary.json").exists():
                polyrank.run(make_settings(settings_of(arm, seed, source, test)), out=run)
            found.setdefault(arm, {})[str(seed)] = told(run)
            print(arm, seed, told(run), flush=True)
            result = {
                "title": "Banking77, eleven clients with seven intents each that no other client "
                f"has, {ROUNDS} rounds",
                "controls": list(ARMS),
                "texts": {WHERE: found},
            }
            given.results.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    with one_thread():
        main()
