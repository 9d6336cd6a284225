"""``summary.json``, typed: what a finished run came to, and what it was."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal, Self

from polyrank.errors import RunFolderError
from polyrank.formats import FORMAT, check_format, versions
from polyrank.judging import Judged, judged_by
from polyrank.record.lines import ClientLine, Curve, FinalLine, ProfileLine, RoundLine, Traffic
from polyrank.record.outcome import Outcome, outcome_of
from polyrank.record.schema import Count, Metrics, Number, RanksByModule, Total, Typed
from polyrank.settings.schema import Settings


class Ended(Typed):
    """A metric at the end, and in the round that was best on validation rows."""

    final: Number
    best: Number
    best_round: Count | None


class AtTheEnd(Typed):
    """A metric at the end."""

    final: Number


class WorstClient(Typed):
    """The client that the global model serves worst."""

    final: Number
    client: str


class OverClients(Typed):
    """A metric of the clients' own models."""

    mean: Number


class Steps(Typed):
    """Optimiser steps of all clients."""

    probe: Total
    training: Total


class Texts(Typed):
    """How many texts there are, how many were cut, and at how many tokens."""

    texts: Count
    cut: Count
    max_length: Count


class Parameters(Typed):
    """Numbers in the frozen base, and those that are trained at the largest ranks."""

    base: Count
    trained: Count


class Truncation(Typed):
    """What the exported model loses where it is cut to its first slots.

    ``loss`` is a mean over ``rows``, held back by the server or by clients.
    """

    curve: Curve
    rows: Count
    held_by: Literal["server", "clients"]


class Facts(Typed):
    """What a summary tells that the lines of a run do not hold."""

    criterion_weights: Mapping[str, Number]
    rank_spread: Number
    head_init: str
    label_names: Sequence[str]
    columns: Sequence[str] | None = None
    texts: Texts | None = None
    parameters: Parameters
    truncation: Truncation | None = None


class Summary(Typed):
    """What ``summary.json`` holds. All of the global model is null if it was not evaluated.

    ``format``, ``polyrank`` and ``torch`` say in which format it is written, and by which versions.
    ``perplexity`` is there of a language model alone; its worst client and its personal models
    are then told by perplexity, too.
    """

    format: int
    polyrank: str
    torch: str
    name: str
    seed: int
    rounds: Count
    clients: Count
    aggregator: str
    allocator: str
    perplexity: Ended | None = None
    accuracy: Ended
    macro_f1: AtTheEnd
    balanced_accuracy: AtTheEnd
    loss: AtTheEnd
    worst_client: WorstClient | None
    personal: OverClients | None
    rounds_to_target: Count | None
    bytes: Traffic
    steps: Steps
    refused: Count
    failed: Count
    mean_rank: Number
    ranks: Mapping[str, RanksByModule]
    scores: Mapping[str, Number]
    criterion_weights: Mapping[str, Number]
    rank_spread: Number
    head_init: str
    label_names: Sequence[str]
    columns: Sequence[str] | None = None
    texts: Texts | None = None
    parameters: Parameters
    truncation: Truncation | None = None

    @classmethod
    def read(cls, value: object, where: Path | str) -> Self:
        """Check what stands in a file, its format first.

        Raises:
            RunFolderError: it is of another format, or damaged; the place and the key are named.
        """
        known = value if isinstance(value, dict) else {}
        check_format(known.get("format"), where, RunFolderError, known.get("polyrank"))
        return super().read(value, where)

    @property
    def judged(self) -> Judged:
        """What the models of the run are judged by."""
        return "perplexity" if self.perplexity else "accuracy"

    @property
    def ended(self) -> Ended:
        """That metric of the global model."""
        return self.perplexity or self.accuracy


def summarize(
    settings: Settings,
    rounds: Sequence[RoundLine],
    clients: Sequence[ClientLine],
    facts: Facts,
) -> Summary:
    """Sum up a finished run.

    ``accuracy.best`` is the test accuracy of the round that was best on validation data:
    by accuracy, or for a language model by loss. Without validation data there is nothing to
    choose by, and it is None.

    Args:
        settings: of the run.
        rounds: lines of ``rounds.jsonl``, at least one.
        clients: lines of ``clients.jsonl``.
        facts: what the lines do not hold.
    """
    came = outcome_of(rounds, clients)
    final: Metrics = came.final or {}
    profiles = [line for line in clients if isinstance(line, ProfileLine)]
    probe, wrote = sum(line.probe_steps for line in rounds), versions()
    return Summary(
        format=FORMAT,
        polyrank=wrote["polyrank"],
        torch=wrote["torch"],
        name=settings.name,
        seed=settings.seed,
        rounds=rounds[-1].round,
        clients=len(profiles),
        aggregator=settings.aggregator.kind,
        allocator=settings.allocator.kind,
        perplexity=_ended("perplexity", came) if came.judged == "perplexity" else None,
        accuracy=_ended("accuracy", came),
        macro_f1=AtTheEnd(final=final.get("macro_f1")),
        balanced_accuracy=AtTheEnd(final=final.get("balanced_accuracy")),
        loss=AtTheEnd(final=final.get("loss")),
        worst_client=_worst(came),
        personal=_personal(clients, came),
        rounds_to_target=_rounds_to(settings.evaluation.target_accuracy, came.evaluated),
        bytes=Traffic(up=came.up, down=came.down),
        steps=Steps(probe=probe, training=sum(line.steps for line in rounds) - probe),
        refused=sum(len(line.refused) for line in rounds),
        failed=sum(len(line.failed) for line in rounds),
        mean_rank=came.mean_rank,
        ranks=came.ranks,
        scores={line.client: line.score for line in profiles if line.score is not None},
        **dict(facts),
    )


def _ended(name: str, came: Outcome) -> Ended:
    best = came.best
    return Ended(
        final=(came.final or {}).get(name),
        best=(best.test or {}).get(name) if best else None,
        best_round=best.round if best else None,
    )


def _worst(came: Outcome) -> WorstClient | None:
    if came.worst is None:
        return None
    metrics = came.worst.shared or {}
    return WorstClient(final=metrics[judged_by(metrics)], client=came.worst.client)


def _personal(clients: Sequence[ClientLine], came: Outcome) -> OverClients | None:
    measured = any(isinstance(line, FinalLine) and line.personal for line in clients)
    return OverClients(mean=came.personal) if measured else None


def _rounds_to(target: float | None, evaluated: Sequence[RoundLine]) -> int | None:
    if target is None:
        return None
    reached = ((line.test or {}).get("accuracy") for line in evaluated)
    rounds = (line.round for line in evaluated)
    return next((n for n, a in zip(rounds, reached, strict=True) if a and a >= target), None)
