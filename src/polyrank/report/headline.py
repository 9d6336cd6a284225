"""The few numbers that say whether a run worked, finished or not."""

from dataclasses import dataclass

from polyrank.report.records import Metrics, Run, Summary
from polyrank.report.yardstick import Yardstick, measured, yardstick


@dataclass(frozen=True)
class Headline:
    """What one run came to; None where it was not measured."""

    judged: Yardstick
    final: float | None  # on that yardstick, as are before, worst, shared and personal
    before: float | None
    loss: float | None
    macro_f1: float | None
    balanced_accuracy: float | None
    worst: float | None
    worst_client: str | None
    worst_before: float | None  # what that client had before training; of language models
    shared: float | None  # of the global model, mean over clients, on their own test rows
    personal: float | None  # the same of the clients' own models
    rounds: int
    bytes_up: int
    bytes_down: int
    mean_rank: float | None


def headline(run: Run) -> Headline:
    """Take the numbers from the summary, or from the last round that has them."""
    summary = run.summary or Summary()
    worst, client = summary.worst_client.final, summary.worst_client.client
    judged = yardstick(run)
    if worst is None:
        worst, client = _worst(run, judged)
    sent = summary.bytes
    return Headline(
        judged=judged,
        final=_final(getattr(summary, judged.metric), run, judged.metric),
        before=next((measured(r).get(judged.metric) for r in run.rounds if r.round == 0), None),
        loss=_final({}, run, "loss"),
        macro_f1=_final(summary.macro_f1, run, "macro_f1"),
        balanced_accuracy=_final(summary.balanced_accuracy, run, "balanced_accuracy"),
        worst=worst,
        worst_client=client,
        shared=judged.mean([f.shared for f in run.finals if f.shared]),
        worst_before=_before(run, client) if judged.falls else None,
        personal=summary.personal.get("mean"),
        rounds=run.rounds[-1].round if run.rounds else 0,
        bytes_up=sent.up if sent else sum(r.bytes.up for r in run.rounds),
        bytes_down=sent.down if sent else sum(r.bytes.down for r in run.rounds),
        mean_rank=summary.mean_rank if summary.mean_rank is not None else _mean_rank(run),
    )


def _final(ended: Metrics, run: Run, metric: str) -> float | None:
    if ended.get("final") is not None:
        return ended["final"]
    records = () if run.only_personal else run.rounds
    values = [measured(record).get(metric) for record in records]
    return next((value for value in reversed(values) if value is not None), None)


def _worst(run: Run, judged: Yardstick) -> tuple[float | None, str | None]:
    scores = [(f.shared.get(judged.metric), f.client) for f in run.finals if f.shared]
    return judged.worst((score, client) for score, client in scores if score is not None)


def _before(run: Run, client: str | None) -> float | None:
    found = [f.before.get("perplexity") for f in run.finals if f.client == client and f.before]
    return found[0] if found else None


def _mean_rank(run: Run) -> float | None:
    ranks = [rank for profile in run.profiles for rank in run.ranks_of(profile).values()]
    return sum(ranks) / len(ranks) if ranks else None
