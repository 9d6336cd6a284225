"""Whether the default collapses: ways to aggregate, where ranks suit the data and where not.

    python benchmarks/safe_default.py --out RUNS --results FILE.json [--seeds N]
        [--data FOLDER] [--image-seeds N]

Three federations of ten clients for each data set: the staircase of the RBLA paper with ranks
that grow with the data (0.1 to 1.0 of the full ranks), the same with the ranks reversed, and a
double imbalance with AutoRank at a mean rank of 16. ``one rank for all`` is of the same budget,
under the default's aggregator and under plain averaging of factors (FedAvg). Every arm has the
same help: the default's momentum and average.

Always the digits of scikit-learn. With ``--data``, a folder that holds ``mnist.npz`` and
``fashion_mnist.npz``, of which 12,000 training and 4,000 test images are drawn, also these, on
the two staircases. Finished runs are
kept and not repeated; the results hold what is finished after each seed. One thread, one process.
"""

import argparse
import json
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np

import polyrank
from polyrank.settings.toml import make_settings
from polyrank.threads import one_thread

HELP: dict[str, Any] = {
    "server_optimizer": {"kind": "fedavgm", "momentum": 0.5},
    "average": 0.8,
}
ARMS: dict[str, tuple[str, bool]] = {  # aggregator, one rank for all
    "anchored": ("anchored", False),
    "flexlora": ("flexlora", False),
    "zero_padding": ("zero_padding", False),
    "rbla": ("rbla", False),
    "one rank for all, anchored": ("anchored", True),
    "one rank for all, fedavg": ("fedavg", True),
}
TITLE = "Does the default collapse? Test accuracy, ten clients, all arms with the same help"
SCENARIOS = {
    "digits": ("staircase", "reversed", "double"),
    "mnist": ("staircase", "reversed"),
    "fashion_mnist": ("staircase", "reversed"),
}
UP = [k / 10 for k in range(1, 11)]
LABELS = ["label_entropy", "gini_simpson", "label_count", "sample_count"]
DIGITS = {
    "rounds": 10,
    "data": "digits",
    "model": {"kind": "mlp", "hidden": [512]},
    "training": {"optimizer": "adam", "learning_rate": 0.002, "epochs": 10, "batch_size": 16},
}
IMAGES = {
    "rounds": 15,
    "model": {"kind": "mlp", "hidden": [200, 200]},
    "training": {
        "optimizer": "sgd",
        "learning_rate": 0.05,
        "momentum": 0.9,
        "epochs": 2,
        "batch_size": 64,
    },
}


def settings_of(data: str, source: str, scenario: str, arm: str, seed: int) -> dict[str, Any]:
    """Return the settings of one run."""
    aggregator, uniform = ARMS[arm]
    document: dict[str, Any] = {"name": f"{data} {scenario} {arm}", "seed": seed, **HELP}
    document |= {"aggregator": aggregator, "criteria": LABELS}
    document |= DIGITS if data == "digits" else {**IMAGES, "data": source}
    r_max, modules = (64, {}) if data == "digits" else (160, {"fc3": {"r_max": 100}})
    if scenario == "double":
        document["partition"] = {"kind": "double_imbalance", "clients": 10}
        document["allocator"] = "uniform" if uniform else "autorank"
        document["ranks"] = {"r_min": 4, "r_max": 64, "budget": {"mean_rank": 16}}
        return document
    ratios = UP if scenario == "staircase" else UP[::-1]
    document["partition"] = {"kind": "staircase", "clients": 10}
    document["allocator"] = {"kind": "ratio", "ratios": [0.55] * 10 if uniform else ratios}
    document["ranks"] = {"r_min": 1, "r_max": r_max, "modules": modules}
    return document


def drawn(path: Path, out: Path) -> Path:
    """Draw 12,000 training and 4,000 test images of a data set."""
    target = out / f"{path.stem}_12k.npz"
    if not target.exists():
        given, rng = np.load(path), np.random.default_rng(0)
        train = rng.permutation(len(given["train_y"]))[:12000]
        test = rng.permutation(len(given["test_y"]))[:4000]
        parts = {f"train_{k}": given[f"train_{k}"][train] for k in "xy"}
        np.savez(target, **parts, **{f"test_{k}": given[f"test_{k}"][test] for k in "xy"})
    return target


def curve(run: Path) -> list[float]:
    """Return the test accuracy after each round."""
    lines = (run / "rounds.jsonl").read_text().splitlines()
    return [json.loads(line)["test"]["accuracy"] for line in lines]


def main() -> None:
    """Run what is missing, seed by seed, and write all curves."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--results", type=Path, required=True)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--data", type=Path)
    parser.add_argument("--image-seeds", type=int, default=3)
    given = parser.parse_args()
    given.out.mkdir(parents=True, exist_ok=True)
    sources = {"digits": "digits"}
    for name in ("mnist", "fashion_mnist") if given.data else ():
        sources[name] = f"npz:{drawn(given.data / f'{name}.npz', given.out)}"
    grid: dict[str, dict[str, dict[str, list[float]]]] = {}
    seeds = {data: given.seeds if data == "digits" else given.image_seeds for data in sources}
    for seed, data in product(range(max(seeds.values())), sources):
        for scenario, arm in product(SCENARIOS[data] if seed < seeds[data] else (), ARMS):
            column = grid.setdefault(f"{data}, {scenario}", {}).setdefault(arm, {})
            column[str(seed)] = finished(given.out, data, sources[data], scenario, arm, seed)
        result = {"title": TITLE, "grid": grid}
        given.results.write_text(json.dumps(result, indent=1) + "\n")


def finished(out: Path, data: str, source: str, scenario: str, arm: str, seed: int) -> list[float]:
    """Return the curve of a run, which is run now if it has not been."""
    same = scenario == "reversed" and ARMS[arm][1]  # one rank for all cannot be reversed
    run = out / f"{data}.{'staircase' if same else scenario}.{arm}.{seed}"
    if not (run / "summary.json").exists():
        polyrank.run(make_settings(settings_of(data, source, scenario, arm, seed)), out=run)
    return curve(run)


if __name__ == "__main__":
    with one_thread():
        main()
