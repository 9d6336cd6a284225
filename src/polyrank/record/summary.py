"""What a run came to, from its records."""

from collections.abc import Mapping, Sequence
from typing import Any

from polyrank.judging import goodness, judged_by, perplexity
from polyrank.settings.schema import Settings

Record = Mapping[str, Any]


def summarize(
    settings: Settings,
    rounds: Sequence[Record],
    clients: Sequence[Record],
    facts: Mapping[str, Any],
) -> dict[str, Any]:
    """Sum up a finished run.

    ``accuracy.best`` is the test accuracy of the round that was best on validation data:
    by accuracy, or for a language model by loss. Without validation data there is nothing to
    choose by, and it is None. All of the global model is None if it was not evaluated after
    training. A language model has ``perplexity`` in the same form; its worst
    client and its personal models are told by perplexity too, where the mean over clients is
    exp of their mean loss.

    Args:
        settings: of the run.
        rounds: lines of ``rounds.jsonl``.
        clients: lines of ``clients.jsonl``.
        facts: what the records do not hold: label names, parameters, criterion weights.
    """
    tokens = any(judged_by(r["test"]) == "perplexity" for r in rounds)
    last = rounds[-1]["test"] or {}  # none if the global model is evaluated before training only
    tested = [r for r in rounds if r["test"]] if last else []
    best = _best(tested)
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
        **({"perplexity": _ended("perplexity", last, best)} if tokens else {}),
        "accuracy": _ended("accuracy", last, best),
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


def _best(tested: Sequence[Record]) -> Record | None:
    """Return the round that was best on validation data, the first of several."""
    return max(
        (r for r in tested if r["validation"]),
        key=lambda r: (goodness(r["validation"]), -r["round"]),
        default=None,
    )


def _ended(name: str, last: Record, best: Record | None) -> dict[str, Any]:
    return {
        "final": last.get(name),
        "best": best and best["test"][name],
        "best_round": best and best["round"],
    }


def _worst(finals: Sequence[Record]) -> dict[str, Any] | None:
    measured = [f for f in finals if f["global"]]
    if not measured:
        return None
    worst = min(measured, key=lambda f: goodness(f["global"]))
    return {"final": worst["global"][judged_by(worst["global"])], "client": worst["client"]}


def _personal(finals: Sequence[Record]) -> dict[str, float | None] | None:
    own = [f["personal"] for f in finals if f["personal"]]
    if not own:
        return None
    if judged_by(own[0]) == "accuracy":
        return {"mean": _mean([metrics["accuracy"] for metrics in own])}
    losses = [metrics["loss"] for metrics in own]
    return {"mean": None if None in losses else perplexity(_mean(losses))}


def _rounds_to(target: float | None, tested: Sequence[Record]) -> int | None:
    if target is None:
        return None
    return next((r["round"] for r in tested if r["test"]["accuracy"] >= target), None)


def _mean(numbers: Sequence[float]) -> float:
    return sum(numbers) / len(numbers)
