"""Run folders as a run writes them, with made-up numbers from fixed formulas and seeds."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest

from tests.written import whole_client, whole_round, whole_summary

MODULES = ("encoder.query", "encoder.value", "classifier")
CRITERIA = ("label_entropy", "boundary_share", "effective_rank", "size")
WEIGHTS = (0.34, 0.27, 0.22, 0.17)
LabelCounts = np.ndarray


def _metrics(t: int, shift: float) -> dict[str, float]:
    accuracy = 0.94 - 0.83 * float(np.exp(-t / 4)) + shift
    return {
        "accuracy": round(accuracy, 4),
        "loss": round(2.3 * float(np.exp(-t / 5)) + 0.22 - shift, 4),
        "macro_f1": round(accuracy - 0.03, 4),
        "balanced_accuracy": round(accuracy - 0.02, 4),
    }


def _token_metrics(loss: float) -> dict[str, float]:
    return {"perplexity": round(float(np.exp(loss)), 4), "loss": loss, "accuracy": 0.3}


def as_language_model(folder: Path) -> Path:
    """Turn a run folder of ``write_run`` into that of a language model, on texts without labels."""
    rounds = [json.loads(line) for line in (folder / "rounds.jsonl").read_text().splitlines()]
    for record in rounds:
        for part in ("validation", "test"):
            record[part] = _token_metrics(record[part]["loss"] + 1)
    lines = (folder / "clients.jsonl").read_text().splitlines()
    clients = [json.loads(line) for line in lines]
    for place, record in enumerate(clients):
        if record["event"] == "profile":
            record["label_counts"] = [sum(record["label_counts"])]
        if record["event"] == "final":
            record |= {"global": _token_metrics(1 + place / 99), "personal": _token_metrics(1.0)}
            record["before"] = _token_metrics(2.0)
    _write(folder, "rounds.jsonl", rounds)
    _write(folder, "clients.jsonl", clients)
    with (folder / "config.toml").open("a", encoding="utf-8") as config:
        config.write('\n[model]\nkind = "hf"\n')
    if (folder / "summary.json").exists():
        worst, last = clients[-1], rounds[-1]["test"]["perplexity"]
        summary = json.loads((folder / "summary.json").read_text()) | {
            "perplexity": {"final": last, "best": last, "best_round": 5},
            "accuracy": {"final": 0.3, "best": 0.3, "best_round": 2},
            "macro_f1": {"final": None},
            "balanced_accuracy": {"final": None},
            "worst_client": {"final": worst["global"]["perplexity"], "client": worst["client"]},
            "personal": {"mean": 2.7183},
            "rounds_to_target": None,
            "label_names": ["0"],
        }
        (folder / "summary.json").write_text(json.dumps(summary), encoding="utf-8")
    return folder


def as_by_need(folder: Path, modules: Sequence[str] = MODULES) -> Path:
    """Turn a run folder of ``write_run`` into one whose clients send their changes."""
    rounds = [json.loads(line) for line in (folder / "rounds.jsonl").read_text().splitlines()]
    clients = [json.loads(line) for line in (folder / "clients.jsonl").read_text().splitlines()]
    for record in rounds[2:]:
        rest = float(np.exp(-record["round"] / 4))
        record["cuts"] = [
            {"slots": k, "loss": rest + max(0, 6 - k) / 6} for k in (0, 2, 4, 6, 8, 12, 16)
        ]
    for record in clients:
        if record["event"] == "profile":
            record |= {"score": None, "contributions": None, "ranks": dict.fromkeys(modules, 8)}
        if record["event"] == "update":
            ranks = [1 + (record["round"] + k) % 9 for k in range(len(modules))]
            record["ranks"] = dict(zip(modules, ranks, strict=True))
            record["shares"] = {m: 0.8 + r / 50 for m, r in record["ranks"].items()}
    profiles = [record for record in clients if record["event"] == "profile"]
    changed = {"ranks": {m: 16 - k % 3 for k, m in enumerate(modules)}}
    clients += [
        whole_client({"event": "ranks", "round": 3, "client": p["client"], **changed})
        for p in profiles
    ]
    _write(folder, "rounds.jsonl", rounds)
    _write(folder, "clients.jsonl", clients)
    if (folder / "summary.json").exists():
        summary = json.loads((folder / "summary.json").read_text())
        summary["truncation"] = {"curve": rounds[-1]["cuts"], "rows": 99, "held_by": "server"}
        (folder / "summary.json").write_text(json.dumps(summary), encoding="utf-8")
    return folder


def _profile(client: str, counts: LabelCounts, rng: np.random.Generator, levels: int) -> dict:
    shares = counts / counts.sum()
    entropy = float(-(shares[shares > 0] * np.log(shares[shares > 0])).sum() / np.log(len(counts)))
    criteria = [entropy, float(rng.uniform(0.02, 0.4)), float(rng.uniform(3, 14)), counts.sum()]
    parts = [w * c / m for w, c, m in zip(WEIGHTS, criteria, (1, 0.4, 14, 400), strict=True)]
    score = min(1.0, sum(parts))
    rank = [4, 8, 16, 32][min(3, int(score * 4))]
    ranks = {module: max(2, rank // (1 + i % levels)) for i, module in enumerate(MODULES)}
    return {
        "event": "profile",
        "client": client,
        "examples": {"train": int(counts.sum()), "test": int(counts.sum()) // 4},
        "label_counts": [int(count) for count in counts],
        "criteria": dict(zip(CRITERIA, map(float, criteria), strict=True)),
        "score": score,
        "contributions": dict(zip(CRITERIA, parts, strict=True)),
        "ranks": ranks,
        "cap": 16 if int(rng.integers(4)) == 0 else 32,
        "reason": f"A score of {score:.2f} falls in the range of rank {rank}.",
    }


def _write(folder: Path, name: str, records: Sequence[dict]) -> None:
    lines = "".join(json.dumps(record) + "\n" for record in records)
    (folder / name).write_text(lines, encoding="utf-8")


def write_run(
    folder: Path,
    *,
    clients: Sequence[str] = tuple(str(i) for i in range(12)),
    rounds: int = 20,
    labels: int = 10,
    seed: int = 0,
    name: str = "digits",
    allocator: str = "topsis",
    settings: str = "",
    shift: float = 0.0,
    levels: int = 2,
    trouble: bool = True,
    finished: bool = True,
) -> Path:
    """Write a run folder; ``levels`` is how many different ranks a client's modules have.

    ``settings`` are more lines of config.toml.
    """
    rng = np.random.default_rng(seed)
    folder.mkdir(parents=True)
    top = f'name = "{name}"\nseed = {seed}\nrounds = {rounds}\n'
    config = f'{top}\n[allocator]\nkind = "{allocator}"\n{settings}'
    (folder / "config.toml").write_text(config, encoding="utf-8")
    sizes = rng.integers(60, 400, len(clients))
    shares = rng.dirichlet(np.full(labels, 0.3), len(clients))
    counts = [rng.multinomial(n, p) for n, p in zip(sizes, shares, strict=True)]
    profiles = [_profile(c, k, rng, levels) for c, k in zip(clients, counts, strict=True)]
    sent = {p["client"]: 4 * sum(p["ranks"].values()) * 900 for p in profiles}
    records, updates, timings = [], [], []
    for t in range(rounds + 1):
        size = max(1, len(clients) * 2 // 3)
        chosen = rng.choice(len(clients), size, replace=False) if t else []
        cohort = [clients[i] for i in sorted(chosen)]
        bad = cohort[:1] if trouble and t in (3, 7) else []
        lost = cohort[1:2] if trouble and t == 7 else []
        good = [c for c in cohort if c not in bad + lost]
        up, down = sum(sent[c] for c in good), sum(sent[c] for c in cohort)
        records.append(
            {
                "round": t,
                "cohort": cohort,
                "refused": [{"client": c, "reason": "classifier: a holds NaN"} for c in bad],
                "failed": [{"client": c, "reason": "no answer within 60 s"} for c in lost],
                "train_loss": 2.2 * float(np.exp(-t / 4.5)) + 0.15 if t else None,
                "validation": _metrics(t, shift + 0.01),
                "test": _metrics(t, shift),
                "bytes": {"up": up, "down": down} if t else {"up": 9000, "down": 64000},
            }
        )
        for c in good:
            loss = 2.2 * float(np.exp(-t / 4.5)) + float(rng.uniform(0.05, 0.3))
            n = profiles[clients.index(c)]["examples"]["train"]
            event = {"event": "update", "round": t, "client": c, "examples": n, "loss": loss}
            updates.append(event | {"bytes": {"up": sent[c], "down": sent[c]}})
        spent = {"train": 0.8 + 0.05 * len(good), "aggregate": 0.06, "evaluate": 0.21, "save": 0.03}
        timings.append({"round": t, "seconds": spent if t else {"probe": 1.9, "evaluate": 0.2}})
    finals = [
        {
            "event": "final",
            "client": c,
            "global": {"accuracy": float(rng.uniform(0.72, 0.98)), "macro_f1": 0.8},
            "personal": {"accuracy": float(rng.uniform(0.8, 1.0)), "macro_f1": 0.85},
        }
        for c in clients
    ]
    _write(folder, "rounds.jsonl", [whole_round(record) for record in records])
    _write(folder, "timings.jsonl", timings)
    about = [*profiles, *updates, *(finals if finished else [])]
    _write(folder, "clients.jsonl", [whole_client(line) for line in about])
    if finished:
        worst = min(finals, key=lambda f: f["global"]["accuracy"])
        last = records[-1]["test"]
        ranks = [rank for p in profiles for rank in p["ranks"].values()]
        summary = {
            "name": name,
            "seed": seed,
            "rounds": rounds,
            "accuracy": {"final": last["accuracy"], "best": last["accuracy"], "best_round": rounds},
            "macro_f1": {"final": last["macro_f1"]},
            "balanced_accuracy": {"final": last["balanced_accuracy"]},
            "worst_client": {"final": worst["global"]["accuracy"], "client": worst["client"]},
            "personal": {"mean": float(np.mean([f["personal"]["accuracy"] for f in finals]))},
            "rounds_to_target": 9,
            "bytes": {k: sum(r["bytes"][k] for r in records) for k in ("up", "down")},
            "parameters": {"base": 1_250_000, "trained": 41_000},
            "ranks": {p["client"]: p["ranks"] for p in profiles},
            "mean_rank": sum(ranks) / len(ranks),
            "scores": {p["client"]: p["score"] for p in profiles},
            "criterion_weights": dict(zip(CRITERIA, WEIGHTS, strict=True)),
            "label_names": [f"label {i}" if labels > 10 else str(i) for i in range(labels)],
            "aggregator": "rank_wise_mean",
            "allocator": allocator,
        }
        (folder / "summary.json").write_text(json.dumps(whole_summary(summary)), encoding="utf-8")
    return folder


@pytest.fixture
def run_folder(tmp_path: Path) -> Path:
    """A finished run of 12 clients."""
    return write_run(tmp_path / "digits")


@pytest.fixture
def make_run(tmp_path: Path) -> Callable[..., Path]:
    """Write a run folder under the test's own folder."""

    def make(
        folder: str,
        *,
        language: bool = False,
        by_need: Sequence[str] = (),  # its modules
        **options: object,
    ) -> Path:
        written = write_run(tmp_path / folder, **options)
        if by_need:
            written = as_by_need(written, by_need)
        return as_language_model(written) if language else written

    return make
