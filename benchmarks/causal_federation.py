"""Eight clients fine-tune a language model: perplexity on each one's own texts, before and after.

    python benchmarks/causal_federation.py --data FOLDER --out RUNS --results FILE.json

The base is that of ``causal_base.py``: news on World and Business. Four kinds of text that it has
not seen, a large and a small client each: the topics Sports and Sci/Tech of AG News, customers'
questions (Banking77), quiz questions (TREC). Arms of one budget (mean rank 8), seed and split:

- ``autorank``: ranks by criteria that need no labels, the default aggregator;
- ``uniform``: rank 8 for all, the default aggregator;
- ``alone``: each client for itself, all its epochs in one round;
- ``pooled``: one client with the training texts of all.

The learning rate of each arm is chosen on a federation of other texts. What ``autorank`` and
``uniform`` export is loaded by PEFT and transformers alone, and judged again. FOLDER holds
``agnews_train15k.csv.gz``, ``banking77_train.csv.gz`` and ``trec6_train.csv.gz``, columns text
and label. Finished runs in RUNS are kept. One thread, one process, about 25 minutes.
"""

import argparse
import json
import math
import statistics
from collections.abc import Mapping
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import torch
from causal_base import SCIENCE, SPORTS, make_base, mean_loss, read

import polyrank
from polyrank.record.lines import FinalLine, ProfileLine
from polyrank.record.run_folder import RunFolder
from polyrank.runs.export import export
from polyrank.runs.loading import load_split
from polyrank.runs.trained_model import read_trained
from polyrank.settings.toml import make_settings
from polyrank.threads import one_thread

ARMS = "autorank", "uniform", "alone", "pooled"
RATES = {
    "autorank": (3e-3, 1e-2, 3e-2),
    "uniform": (3e-3, 1e-2, 3e-2),
    "alone": (1e-3, 3e-3, 1e-2),
    "pooled": (1e-3, 3e-3, 1e-2),
}
ROUNDS, RANK, LENGTH = 6, 8, 32
LARGE, SMALL = 400, 140
TUNING = -1  # the seed of the federation on which rates are chosen
CRITERIA = ["loss_entropy", "token_loss_spread", "token_entropy", "sample_count"]
Losses = dict[str, float]  # client -> nats a token


def texts_of(data: Path) -> dict[str, list[str]]:
    """Return the texts of each kind."""
    news = read(data / "agnews_train15k.csv.gz")
    return {
        "sports": [text for text, label in news if label == SPORTS],
        "science": [text for text, label in news if label == SCIENCE],
        "bank": [text for text, _ in read(data / "banking77_train.csv.gz")],
        "quiz": [text for text, _ in read(data / "trec6_train.csv.gz")],
    }


def write_rows(data: Path, path: Path, seed: int) -> None:
    """Draw the texts of eight clients; rates are chosen on the even rows, the rest is told."""
    rng, lines = np.random.default_rng(seed + 1), []
    for kind, texts in texts_of(data).items():
        own = texts[0::2] if seed == TUNING else texts[1::2]
        drawn = [own[row] for row in rng.permutation(len(own))[: LARGE + SMALL]]
        for size, part in (("large", drawn[:LARGE]), ("small", drawn[LARGE:])):
            lines += [json.dumps({"text": t, "client": f"{kind}-{size}"}) for t in part]
    path.write_text("\n".join(lines) + "\n")


def settings_of(arm: str, base: Path, rows: Path, seed: int, rate: float) -> dict[str, Any]:
    """Return the settings of one run; ``rows`` of ``pooled`` are the others' training rows."""
    shares = {"test": 0.1, "validation": 0.1, "client_test": 0.3}
    rounds, epochs = (ROUNDS, 1) if arm in ("autorank", "uniform") else (1, ROUNDS)
    document: dict[str, Any] = {
        "name": arm,
        "seed": abs(seed),
        "rounds": rounds,
        "data": {"source": str(rows), "group": "client", **shares},
        "partition": "natural",
        "model": {"kind": "hf", "name": str(base), "task": "causal-lm", "max_length": LENGTH},
        "adapter": {"targets": "all-linear"},
        "criteria": CRITERIA,
        "allocator": "autorank" if arm == "autorank" else "uniform",
        "ranks": {"r_min": 2, "r_max": 2 * RANK, "budget": {"mean_rank": RANK}},
        "training": {"epochs": epochs, "batch_size": 16, "learning_rate": rate},
    }
    if arm == "pooled":
        document["data"] = {"source": str(rows), **dict.fromkeys(shares, 0.0)}
        document["partition"] = {"kind": "iid", "clients": 1}
    return document


def own_rows(document: Mapping[str, Any]) -> tuple[list[str], dict[str, list[str]]]:
    """Return all clients' training texts, and each one's held-out texts."""
    data, splits = load_split(make_settings(document))
    train = [data.train_x[row] for client in splits.clients for row in client.train]
    return train, {c.name: [data.train_x[row] for row in c.test] for c in splits.clients}


class Experiment:
    """The runs of one folder.

    Args:
        data: folder of the texts.
        out: folder of the runs, of the base and of what clients hold.
    """

    def __init__(self, data: Path, out: Path) -> None:
        self.data, self.out, self.base = data, out, out / "base"
        out.mkdir(parents=True, exist_ok=True)
        if not (self.base / "config.json").exists():
            make_base(data, self.base)

    def rows(self, seed: int) -> Path:
        """Return the file of the eight clients' texts."""
        path = self.out / f"rows.{seed}.jsonl"
        if not path.exists():
            write_rows(self.data, path, seed)
        return path

    def held_out(self, seed: int) -> dict[str, list[str]]:
        """Return each client's held-out texts."""
        return own_rows(settings_of("uniform", self.base, self.rows(seed), seed, 1e-3))[1]

    def run(self, arm: str, seed: int, rate: float) -> Path:
        """Run once, or find what an earlier call left."""
        run, rows = self.out / f"{arm}.{seed}.{rate}", self.rows(seed)
        if arm == "pooled":
            train, _ = own_rows(settings_of("uniform", self.base, rows, seed, rate))
            rows = self.out / f"pooled.{seed}.jsonl"
            rows.write_text("".join(json.dumps({"text": text}) + "\n" for text in train))
        if not run.exists():
            polyrank.run(settings_of(arm, self.base, rows, seed, rate), out=run)
        elif not RunFolder(run).finished:
            polyrank.resume(run)
        return run

    def losses(self, arm: str, seed: int, rate: float) -> dict[str, Losses]:
        """Return the losses on each client's own texts, by what they were measured with."""
        run = self.run(arm, seed, rate)
        if arm == "pooled":
            model, tokenizer = self.in_peft(run, None)
            held_out = self.held_out(seed)
            found = {c: mean_loss(model, tokenizer, t, LENGTH) for c, t in held_out.items()}
            return {"pooled": found}
        finals = [x.as_json() for x in RunFolder(run).read_clients() if isinstance(x, FinalLine)]
        kinds = ("personal",) if arm == "alone" else ("before", "global", "personal")
        return {kind: {x["client"]: x[kind]["loss"] for x in finals} for kind in kinds}

    def in_peft(self, run: Path, client: str | None) -> tuple[Any, Any]:
        """Export, and load with nothing but PEFT and transformers."""
        from peft import PeftModel
        from transformers import AutoModelForCausalLM, AutoTokenizer

        folder = self.out / "exports" / f"{run.name}.{client or 'global'}"
        if not folder.exists():
            export(run, folder, client=client)
        base = AutoModelForCausalLM.from_pretrained(self.base)
        tokenizer = AutoTokenizer.from_pretrained(self.base)
        return PeftModel.from_pretrained(base, folder).eval(), tokenizer

    def check_exports(self, run: Path, seed: int) -> dict[str, float]:
        """Compare exports with the run's own models and records, on the clients' own texts."""
        lines = RunFolder(run).read_clients()
        finals = {x.client: x.as_json() for x in lines if isinstance(x, FinalLine)}
        logits, losses = [], []
        for client, texts in self.held_out(seed).items():
            for kind, whose in (("global", None), ("personal", client)):
                model, tokenizer = self.in_peft(run, whose)
                own = read_trained(run, whose).bridge().model.eval()
                cut = {"padding": True, "truncation": True, "max_length": LENGTH}
                given = tokenizer(texts[:8], return_tensors="pt", **cut)
                words = {key: given[key] for key in ("input_ids", "attention_mask")}
                with torch.inference_mode():
                    apart = (model(**words).logits - own(**words).logits).abs().max()
                logits.append(float(apart))
                told = finals[client][kind]["loss"]
                losses.append(abs(mean_loss(model, tokenizer, texts, LENGTH) - told))
        return {"logits": max(logits), "loss": max(losses)}


def main() -> None:
    """Choose the rates, run what is missing, and write what came of it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--results", type=Path, required=True)
    parser.add_argument("--seeds", type=int, default=3)
    given = parser.parse_args()
    runs = Experiment(given.data, given.out)
    tuned = {arm: {rate: judged(runs, arm, rate) for rate in tried} for arm, tried in RATES.items()}
    rates = {arm: min(found, key=found.__getitem__) for arm, found in tuned.items()}
    perplexity: dict[str, dict[str, Losses]] = {}
    exports, about = [], {}
    for seed, arm in product(range(given.seeds), ARMS):
        for kind, losses in runs.losses(arm, seed, rates[arm]).items():
            row = perplexity.setdefault(name_of(arm, kind), {})
            row[str(seed)] = {client: math.exp(loss) for client, loss in sorted(losses.items())}
        run = runs.run(arm, seed, rates[arm])
        if arm in ("autorank", "uniform"):
            exports.append(runs.check_exports(run, seed))
            about[f"{arm}.{seed}"] = told(run)
    result = {
        "title": "Language model, eight clients: perplexity on each client's own held-out texts",
        "perplexity": perplexity,
        "rates": {"chosen": rates, "perplexity_on_other_texts": tuned},
        "runs": about,
        "exports_in_peft": {
            "exports": len(exports) * (1 + len(next(iter(perplexity["base"].values())))),
            "largest_difference_of_logits": max(e["logits"] for e in exports),
            "largest_difference_of_loss": max(e["loss"] for e in exports),
        },
        "settings": settings_of("autorank", Path("BASE"), Path("ROWS"), 0, rates["autorank"]),
    }
    given.results.write_text(json.dumps(result, indent=1) + "\n")


def judged(runs: Experiment, arm: str, rate: float) -> float:
    """Return exp of the clients' mean loss on the federation for choosing rates.

    Of an arm with a global and personal models, the mean of both.
    """
    losses = runs.losses(arm, TUNING, rate)
    kinds = [list(of.values()) for kind, of in losses.items() if kind != "before"]
    found = math.exp(statistics.mean(loss for own in kinds for loss in own))
    print(f"tuning: {arm} at {rate:g}: {found:.2f}", flush=True)
    return found


def name_of(arm: str, kind: str) -> str:
    """Name a row of the table; the base is the same for all arms."""
    if kind == "before":
        return "base"
    return arm if arm in ("alone", "pooled") else f"{arm}, {kind}"


def told(run: Path) -> dict[str, Any]:
    """Return a run's ranks, criteria and cost, and its test perplexity by round."""
    folder = RunFolder(run)
    summary, lines = folder.read_summary(), folder.read_clients()
    profiles = [line for line in lines if isinstance(line, ProfileLine)]
    return {
        "mean_rank": {p.client: statistics.mean(p.ranks.values()) for p in profiles},
        "criteria": {p.client: p.criteria for p in profiles},
        "examples": {p.client: p.examples.as_json() for p in profiles},
        "criterion_weights": summary.criterion_weights,
        "bytes": summary.bytes.as_json(),
        "test_perplexity": [(line.test or {}).get("perplexity") for line in folder.read_rounds()],
    }


if __name__ == "__main__":
    with one_thread():
        main()
