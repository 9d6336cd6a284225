"""The few numbers that say whether a run worked, finished or not."""

from dataclasses import dataclass

from polyrank.report.records import Metrics, Round, Run, Summary


@dataclass(frozen=True)
class Headline:
    """What one run came to; None where it was not measured."""

    accuracy: float | None
    before: float | None  # accuracy before training
    macro_f1: float | None
    balanced_accuracy: float | None
    worst: float | None
    worst_client: str | None
    personal: float | None
    rounds: int
    bytes_up: int
    bytes_down: int
    mean_rank: float | None


def headline(run: Run) -> Headline:
    """Take the numbers from the summary, or from the last round that has them."""
    summary = run.summary or Summary()
    worst, client = summary.worst_client.final, summary.worst_client.client
    if worst is None:
        worst, client = _worst(run)
    sent = summary.bytes
    return Headline(
        accuracy=_final(summary.accuracy, run, "accuracy"),
        before=next((measured(r).get("accuracy") for r in run.rounds if r.round == 0), None),
        macro_f1=_final(summary.macro_f1, run, "macro_f1"),
        balanced_accuracy=_final(summary.balanced_accuracy, run, "balanced_accuracy"),
        worst=worst,
        worst_client=client,
        personal=summary.personal.get("mean"),
        rounds=run.rounds[-1].round if run.rounds else 0,
        bytes_up=sent.up if sent else sum(r.bytes.up for r in run.rounds),
        bytes_down=sent.down if sent else sum(r.bytes.down for r in run.rounds),
        mean_rank=summary.mean_rank if summary.mean_rank is not None else _mean_rank(run),
    )


def measured(record: Round) -> Metrics:
    """Return a round's metrics on test data, or on validation data where there are no others."""
    return record.test or record.validation or {}


def _final(ended: Metrics, run: Run, metric: str) -> float | None:
    if ended.get("final") is not None:
        return ended["final"]
    values = [measured(record).get(metric) for record in run.rounds]
    return next((value for value in reversed(values) if value is not None), None)


def _worst(run: Run) -> tuple[float | None, str | None]:
    scores = [(final.shared["accuracy"], final.client) for final in run.finals if final.shared]
    known = [(score, client) for score, client in scores if score is not None]
    return min(known, default=(None, None))


def _mean_rank(run: Run) -> float | None:
    ranks = [rank for profile in run.profiles for rank in run.ranks_of(profile).values()]
    return sum(ranks) / len(ranks) if ranks else None
