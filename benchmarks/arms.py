"""Arms of one federation side by side: choosers of ranks, ways to aggregate.

    python benchmarks/arms.py --out RUNS --results FOLDER [--seeds N] [--data FOLDER] [--jobs N]
        [--only TEXT] [--tune-seeds N]

On the digits of scikit-learn: AutoRank, one rank for all and random ranks of one budget, on the
staircase (more labels, more rows) and where labels and sizes are unequal but not together; every
aggregator; and AutoRank beside one rank for all where each client has a few labels. ``default`` has
the server's help that the default has, every aggregator that is named is as it was published, and
each arm has the learning rate, of three, that is best for it on validation rows, over three seeds.
Where each client has a few labels seeds differ most, and rates hardly: ten seeds there, and ten
more for the rates. With ``--data``, a folder of ``mnist.npz``, RBLA's staircase of 60,000 images as
well, at the rate of the paper. A file each in FOLDER. ``--seeds`` and ``--tune-seeds`` are at most.
Finished runs are kept and not repeated. One thread a process.
"""

import json
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import compared

from polyrank.record.run_folder import RunFolder

Settings = dict[str, Any]
EXAMPLES = Path(__file__).parent.parent / "examples"
DEFAULT: Settings = {"aggregator": "anchored", "recipe": "safe"}
PUBLISHED = ("flexlora", "rbla", "zero_padding")
CHOOSERS = ("autorank", "uniform", "random")
OTHERS = (
    "replication",
    "hetlora",
    "raflora",
    "ffa",
    "rolora",
    "fedsa",
    "flora",
    "florist",
    "fedex",
)
KEPT = ("accuracy", "worst_client", "personal", "bytes", "mean_rank")
SKEW: Settings = {  # few rows, a few labels each
    "rounds": 40,
    "data": "digits",
    "partition": {"kind": "dirichlet", "clients": 5, "concentration": 0.1},
    "model": {"kind": "mlp", "hidden": [64]},
    "ranks": {"r_min": 2, "r_max": 16, "budget": 6},
    "training": {"epochs": 2, "learning_rate": 0.015},
}


@dataclass(frozen=True)
class Federation:
    """One federation and the arms that it has.

    Args:
        name: of the result file.
        title: of its table.
        settings: of all arms.
        arms: what each arm changes.
        seeds: that it is run with.
        tune: seeds by which each arm's learning rate is chosen; 0: the rate as it is.
    """

    name: str
    title: str
    settings: Settings
    arms: Mapping[str, Settings]
    seeds: int = 5
    tune: int = 3


def published(aggregator: str) -> Settings:
    """Return what an arm changes for an aggregator as its paper has it."""
    return {"aggregator": aggregator, "recipe": "paper"}


def example(name: str) -> Settings:
    """Return an example's settings, without the aggregator and what hangs on it."""
    found = tomllib.loads((EXAMPLES / f"{name}.toml").read_text("utf-8"))
    of_aggregator = ("aggregator", "recipe", "server_optimizer", "average")
    return {key: value for key, value in found.items() if key not in of_aggregator}


def federations(data: Path | None) -> Iterator[Federation]:
    """Yield all federations, or without a folder those of the digits."""
    digits = {**example("digits"), "ranks": {"r_min": 4, "r_max": 64, "budget": 16}}
    ways = {"default": DEFAULT, **{name: published(name) for name in PUBLISHED}}
    for partition, where in (("staircase", "staircase"), ("double_imbalance", "double imbalance")):
        yield Federation(
            f"digits_{partition}",
            f"Digits, {where}: AutoRank (r 4 to 64), uniform and random ranks of the same budget",
            {**digits, "partition": {"kind": partition, "clients": 10}},
            {
                f"{chooser} + {way}": {"allocator": chooser, **changes}
                for chooser in CHOOSERS
                for way, changes in ways.items()
            },
        )
    others = {f"autorank + {name}": published(name) for name in OTHERS}
    yield Federation(
        "digits_aggregators",
        "Digits, every aggregator: staircase of ten clients, mean rank 16",
        digits,
        {f"autorank + {way}": changes for way, changes in ways.items()}
        | others
        | {"uniform + fedavg": {"allocator": "uniform", **published("fedavg")}},
    )
    yield Federation(
        "digits_label_skew",
        "Digits, label skew: five clients, Dirichlet 0.1, AutoRank (r 2 to 16) and uniform of the "
        "same budget, 40 rounds",
        SKEW,
        {f"{name} + default": {"allocator": name, **DEFAULT} for name in ("autorank", "uniform")},
        seeds=10,
        tune=10,
    )
    if data is not None:
        yield Federation(
            "mnist_staircase",
            "MNIST, staircase: ten clients, ranks by hand from 0.1 to 1.0 of 160/160/100, one "
            "scaling for all ranks, 15 rounds",
            {**example("mnist"), "data": f"npz:{data / 'mnist.npz'}"},
            {f"ratio + {name}": published(name) for name in ("rbla", "zero_padding")},
            seeds=3,
            tune=0,
        )


def told(run: Path) -> dict[str, Any]:
    """Return what a result file keeps of a run."""
    summary = RunFolder.open(run).read_summary().as_json()
    curve = [round(value, 4) for value in compared.test_accuracies(run)]
    return {"test_accuracy": curve, **{key: summary[key] for key in KEPT}}


def main() -> None:
    """Run what is missing, and write a file for each federation."""
    parser = compared.arguments(__doc__, seeds=10, tune=10, data=False)
    given = parser.parse_args()
    for place in federations(given.data):
        if given.only not in place.name:
            continue
        runs = compared.folders(
            {**place.settings, "name": place.name},
            place.arms,
            seeds=min(given.seeds, place.seeds),
            out=given.out / place.name,
            jobs=given.jobs,
            tune=min(place.tune, given.tune_seeds),
        )
        arms = {arm: {seed: told(run) for seed, run in of.items()} for arm, of in runs.items()}
        result = {"title": place.title, "arms": arms}
        path = given.results / f"{place.name}.json"
        path.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
        print(
            place.name, {arm: of["0"]["test_accuracy"][-1] for arm, of in arms.items()}, flush=True
        )


if __name__ == "__main__":
    main()
