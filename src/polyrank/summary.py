"""What a run came to, from its records."""

from collections.abc import Mapping, Sequence
from typing import Any

from polyrank.settings import Settings

Record = Mapping[str, Any]


def summarize(
    settings: Settings,
    rounds: Sequence[Record],
    clients: Sequence[Record],
    facts: Mapping[str, Any],
) -> dict[str, Any]:
    """Sum up a finished run.

    ``accuracy.best`` is the test accuracy of the round that was best on validation data;
    without validation data there is nothing to choose by, and it is None.

    Args:
        settings: of the run.
        rounds: lines of ``rounds.jsonl``.
        clients: lines of ``clients.jsonl``.
        facts: what the records do not hold: label names, parameters, criterion weights.
    """
    tested = [r for r in rounds if r["test"]]
    last = tested[-1]["test"] if tested else {}
    best = max(
        (r for r in tested if r["validation"]),
        key=lambda r: (r["validation"]["accuracy"], -r["round"]),
        default=None,
    )
    profiles = [c for c in clients if c["event"] == "profile"]
    finals = [c for c in clients if c["event"] == "final"]
    ranks = {c["client"]: c["ranks"] for c in clients if c["event"] in ("profile", "ranks")}
    return {
        "name": settings.name,
        "seed": settings.seed,
        "rounds": rounds[-1]["round"],
        "clients": len(profiles),
        "aggregator": settings.aggregator.kind,
        "allocator": settings.allocator.kind,
        "accuracy": {
            "final": last.get("accuracy"),
            "best": best and best["test"]["accuracy"],
            "best_round": best and best["round"],
        },
        "macro_f1": {"final": last.get("macro_f1")},
        "balanced_accuracy": {"final": last.get("balanced_accuracy")},
        "loss": {"final": last.get("loss")},
        "worst_client": _worst(finals),
        "personal": _personal(finals),
        "rounds_to_target": _rounds_to(settings.evaluation.target_accuracy, tested),
        "bytes": {way: sum(r["bytes"][way] for r in rounds) for way in ("up", "down")},
        "steps": {
            "probe": sum(r["probe_steps"] for r in rounds),
            "training": sum(r["steps"] - r["probe_steps"] for r in rounds),
        },
        "refused": sum(len(r["refused"]) for r in rounds),
        "failed": sum(len(r["failed"]) for r in rounds),
        "mean_rank": _mean([_mean(list(of.values())) for of in ranks.values()]),
        "ranks": ranks,
        "scores": {c["client"]: c["score"] for c in profiles if c["score"] is not None},
        **facts,
    }


def _worst(finals: Sequence[Record]) -> dict[str, Any] | None:
    measured = [f for f in finals if f["global"]]
    if not measured:
        return None
    worst = min(measured, key=lambda f: f["global"]["accuracy"])
    return {"final": worst["global"]["accuracy"], "client": worst["client"]}


def _personal(finals: Sequence[Record]) -> dict[str, float] | None:
    accuracies = [f["personal"]["accuracy"] for f in finals if f["personal"]]
    return {"mean": _mean(accuracies)} if accuracies else None


def _rounds_to(target: float | None, tested: Sequence[Record]) -> int | None:
    if target is None:
        return None
    return next((r["round"] for r in tested if r["test"]["accuracy"] >= target), None)


def _mean(numbers: Sequence[float]) -> float:
    return sum(numbers) / len(numbers)
