"""Eight clients fine-tune a language model: perplexity on each one's own texts, before and after.

    python benchmarks/causal_federation.py --data FOLDER --out RUNS --results FILE.json
        [--seeds 3] [--jobs N]

The base is that of ``causal_base.py``: news on World and Business. Four kinds of text that it has
not seen, a large and a small client each: the topics Sports and Sci/Tech of AG News, customers'
questions (Banking77), quiz questions (TREC). Arms of one budget (mean rank 8) on the same splits:

- ``autorank``: ranks by criteria that need no labels, the default aggregator;
- ``uniform``: rank 8 for all, the default aggregator;
- ``alone``: each client for itself, all its epochs in one round;
- ``pooled``: one client with the texts of all in one round, so that the server changes nothing;
  it is judged on the server's test texts alone.

Each arm has the learning rate, of three, that is best for it on validation texts, with another
seed; ``alone`` the one that is best for its own models on their own test texts. What ``autorank``
and ``uniform`` export is loaded by PEFT and transformers alone, and judged again. FOLDER holds
``agnews_train15k.csv.gz``, ``banking77_train.csv.gz`` and ``trec6_train.csv.gz``, columns text
and label. Finished runs in RUNS are kept. One thread a run.
"""

import json
import math
import statistics
from pathlib import Path
from typing import Any

import compared
import numpy as np
import torch
from causal_base import SCIENCE, SPORTS, make_base, mean_loss, read

from polyrank.record.lines import FinalLine, ProfileLine
from polyrank.record.run_folder import RunFolder
from polyrank.runs.export import export
from polyrank.runs.loading import load_split
from polyrank.runs.trained_model import read_trained
from polyrank.threads import one_thread

Settings = dict[str, Any]
ROUNDS, RANK, LENGTH = 6, 8, 32
LARGE, SMALL = 400, 140
CRITERIA = ["loss_entropy", "token_loss_spread", "token_entropy", "sample_count"]
AT_ONCE: Settings = {"rounds": 1, "training.epochs": ROUNDS}
FEDERATED: dict[str, Settings] = {"autorank": {"allocator": "autorank"}, "uniform": {}}
ARMS: dict[str, Settings] = {
    **FEDERATED,
    "alone": {**AT_ONCE, "evaluation.global_model": False},
    "pooled": {**AT_ONCE, "partition": {"kind": "iid", "clients": 1}},
}
TITLE = "Language model, eight clients: perplexity on each client's own held-out texts"


def texts_of(data: Path) -> dict[str, list[str]]:
    """Return the texts of each kind."""
    news = read(data / "agnews_train15k.csv.gz")
    return {
        "sports": [text for text, label in news if label == SPORTS],
        "science": [text for text, label in news if label == SCIENCE],
        "bank": [text for text, _ in read(data / "banking77_train.csv.gz")],
        "quiz": [text for text, _ in read(data / "trec6_train.csv.gz")],
    }


def texts(data: Path, out: Path) -> Path:
    """Return the file of the eight clients' texts, drawn from every second text of each kind."""
    path = out / "rows.jsonl"
    if not path.exists():
        rng, lines = np.random.default_rng(1), []
        for kind, known in texts_of(data).items():
            half = known[1::2]
            drawn = [half[row] for row in rng.permutation(len(half))[: LARGE + SMALL]]
            for size, part in (("large", drawn[:LARGE]), ("small", drawn[LARGE:])):
                lines += [json.dumps({"text": t, "client": f"{kind}-{size}"}) for t in part]
        path.write_text("\n".join(lines) + "\n")
    return path


def prepared(data: Path, out: Path) -> Settings:
    """Return what all arms share, base and texts made if they are not there."""
    out.mkdir(parents=True, exist_ok=True)
    base = out / "base"
    if not (base / "config.json").exists():
        with one_thread():
            make_base(data, base)
    return settings(base, texts(data, out))


def settings(base: Path, rows: Path) -> Settings:
    """Return what all arms share."""
    return {
        "name": "language model",
        "rounds": ROUNDS,
        "data": {
            "source": str(rows),
            "group": "client",
            "test": 0.1,
            "validation": 0.1,
            "client_test": 0.3,
        },
        "partition": "natural",
        "model": {"kind": "hf", "name": str(base), "task": "causal-lm", "max_length": LENGTH},
        "adapter": {"targets": "all-linear"},
        "criteria": CRITERIA,
        "allocator": "uniform",
        "ranks": {"r_min": 2, "r_max": 2 * RANK, "budget": {"mean_rank": RANK}},
        "training": {"epochs": 1, "batch_size": 16, "learning_rate": 0.01},
    }


def finals(run: Path) -> dict[str, Settings]:
    """Return what each client's texts said of the models at the end."""
    lines = RunFolder(run).read_clients()
    return {x.client: x.as_json() for x in lines if isinstance(x, FinalLine)}


def own_texts(run: Path) -> dict[str, list[str]]:
    """Return each client's held-out texts."""
    data, splits = load_split(RunFolder.open(run).settings)
    return {c.name: [data.train_x[row] for row in c.test] for c in splits.clients}


def in_peft(run: Path, out: Path, client: str | None) -> tuple[Any, Any]:
    """Export, and load with nothing but PEFT and transformers."""
    from peft import PeftModel
    from transformers import AutoModelForCausalLM, AutoTokenizer

    base = RunFolder.open(run).settings.model.options["name"]
    folder = out / "exports" / run.parent.name / run.name / (client or "global")
    if not folder.exists():
        export(run, folder, client=client)
    model = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(base), folder)
    return model.eval(), AutoTokenizer.from_pretrained(base)


def check_exports(run: Path, out: Path) -> list[dict[str, float]]:
    """Compare exports with the run's own models and records, on the clients' own texts."""
    told, found = finals(run), []
    for client, held_out in own_texts(run).items():
        for kind, whose in (("global", None), ("personal", client)):
            model, tokenizer = in_peft(run, out, whose)
            own = read_trained(run, whose).bridge().model.eval()
            cut = {"padding": True, "truncation": True, "max_length": LENGTH}
            given = tokenizer(held_out[:8], return_tensors="pt", **cut)
            words = {key: given[key] for key in ("input_ids", "attention_mask")}
            with torch.inference_mode():
                apart = (model(**words).logits - own(**words).logits).abs().max()
            loss = mean_loss(model, tokenizer, held_out, LENGTH) - told[client][kind]["loss"]
            found.append({"logits": float(apart), "loss": abs(loss)})
    return found


def told(run: Path) -> Settings:
    """Return a run's learning rate, ranks, criteria, cost, and perplexity on test texts by round.

    The round before the first is the base's.
    """
    folder = RunFolder.open(run)
    summary, lines = folder.read_summary(), folder.read_clients()
    profiles = [line for line in lines if isinstance(line, ProfileLine)]
    return {
        "learning_rate": folder.settings.training.learning_rate,
        "mean_rank": {p.client: statistics.mean(p.ranks.values()) for p in profiles},
        "criteria": {p.client: p.criteria for p in profiles},
        "examples": {p.client: p.examples.as_json() for p in profiles},
        "criterion_weights": summary.criterion_weights,
        "bytes": summary.bytes.as_json(),
        "test_perplexity": [(line.test or {}).get("perplexity") for line in folder.read_rounds()],
    }


def main() -> None:
    """Run what is missing, and write what came of it."""
    given = compared.arguments(__doc__, tune=1, data=True).parse_args()
    runs = compared.folders(
        prepared(given.data, given.out),
        ARMS,
        seeds=given.seeds,
        out=given.out / "runs",
        jobs=given.jobs,
        tune=given.tune_seeds,
    )
    own: dict[str, dict[str, dict[str, float]]] = {}
    about = {arm: {seed: told(run) for seed, run in of.items()} for arm, of in runs.items()}
    exports = []
    for arm in ("autorank", "uniform", "alone"):
        for seed, run in runs[arm].items():
            kinds = ("before", "global", "personal") if arm in FEDERATED else ("personal",)
            for kind in kinds:
                row = own.setdefault(name_of(arm, kind), {})
                row[seed] = {c: math.exp(x[kind]["loss"]) for c, x in sorted(finals(run).items())}
            if arm in FEDERATED:
                with one_thread():
                    exports += check_exports(run, given.out)
    result = {
        "title": TITLE,
        "perplexity": own,
        "runs": about,
        "exports_in_peft": {
            "exports": len({*given.out.glob("exports/*/*/*")}),
            "largest_difference_of_logits": max(e["logits"] for e in exports),
            "largest_difference_of_loss": max(e["loss"] for e in exports),
        },
    }
    given.results.write_text(json.dumps(result, indent=1) + "\n")


def name_of(arm: str, kind: str) -> str:
    """Name a row of the table; the base is the same for all arms."""
    if kind == "before":
        return "base"
    return f"{arm}, {kind}" if arm in FEDERATED else arm


if __name__ == "__main__":
    main()
