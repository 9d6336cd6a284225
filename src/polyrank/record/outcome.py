"""Compute how good a run became, and at what cost: once, for summary, table and report."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from polyrank.judging import Judged, goodness, judged_by, perplexity
from polyrank.record.lines import ClientLine, FinalLine, ProfileLine, RanksLine, RoundLine
from polyrank.record.schema import Metrics, RanksByModule

RowsPart = Literal["test", "validation"]


@dataclass(frozen=True)
class Outcome:
    """What a run came to so far.

    Attributes:
        judged: what its models are judged by.
        before: of the global model before training; None where it was not evaluated.
        final: of the global model in the last round that was evaluated after training; None if
            there is none.
        best: the round that was best on validation rows, the server's or clients'; None without
            such rows.
        worst: the client that the global model serves worst on the client's own test rows.
        shared: of the global model, mean over clients, on their own test rows.
        personal: the same of the clients' own models.
        evaluated: the rounds in which the global model was evaluated.
        up: bytes from clients to the server.
        down: bytes from the server to clients.
        ranks: client -> module -> the rank it has now.
        mean_rank: mean over clients of the mean over modules; None without clients.
    """

    judged: Judged
    before: Metrics | None
    final: Metrics | None
    best: RoundLine | None
    worst: FinalLine | None
    shared: float | None
    personal: float | None
    evaluated: Sequence[RoundLine]
    up: int
    down: int
    ranks: Mapping[str, RanksByModule]
    mean_rank: float | None


def outcome_of(
    rounds: Sequence[RoundLine], clients: Sequence[ClientLine], rows: RowsPart = "test"
) -> Outcome:
    """Compute what a run came to.

    A global model is evaluated after training, or nothing is said of it: where it is evaluated
    before training only, the clients' own models are what counts.

    Args:
        rounds: in order, each once.
        clients: in the order written.
        rows: the server's rows on which the global model is judged.
    """
    evaluated = [line for line in rounds if round_metrics(line, rows)]
    last = evaluated[-1] if evaluated else None
    if last is None or (last.round == 0 and len(rounds) > 1):
        evaluated, last = [], None
    finals = [line for line in clients if isinstance(line, FinalLine)]
    judged = judged_on(rounds, rows)
    ranks = ranks_now(clients)
    means = [mean(list(of.values())) for of in ranks.values() if of]
    return Outcome(
        judged=judged,
        before=round_metrics(rounds[0], rows) if rounds and rounds[0].round == 0 else None,
        final=round_metrics(last, rows) if last else None,
        best=_best(evaluated or rounds[1:]),
        worst=min(
            (line for line in finals if line.shared),
            key=lambda line: goodness(line.shared or {}),
            default=None,
        ),
        shared=_over_clients([line.shared for line in finals if line.shared]),
        personal=_over_clients([line.personal for line in finals if line.personal]),
        evaluated=evaluated,
        up=sum(line.bytes.up for line in rounds),
        down=sum(line.bytes.down for line in rounds),
        ranks=ranks,
        mean_rank=mean(means) if means else None,
    )


def round_metrics(line: RoundLine, rows: RowsPart) -> Metrics | None:
    """Return what the global model came to on the server's test or validation rows."""
    return line.test if rows == "test" else line.validation


def judged_on(rounds: Sequence[RoundLine], rows: RowsPart) -> Judged:
    """Return by what a run is judged; by accuracy as long as nothing has been measured."""
    tokens = any(judged_by(round_metrics(line, rows)) == "perplexity" for line in rounds)
    return "perplexity" if tokens else "accuracy"


def ranks_now(clients: Sequence[ClientLine]) -> dict[str, RanksByModule]:
    """Return each client's ranks as they were chosen last."""
    chosen = (line for line in clients if isinstance(line, ProfileLine | RanksLine))
    return {line.client: line.ranks for line in chosen}


def mean(numbers: Sequence[float]) -> float:
    """Return the mean of at least one number."""
    return sum(numbers) / len(numbers)


def _best(evaluated: Sequence[RoundLine]) -> RoundLine | None:
    """Return the round that was best on validation data, the first of several."""
    return max(
        (line for line in evaluated if line.validation),
        key=lambda line: (goodness(line.validation or {}), -line.round),
        default=None,
    )


def _over_clients(own: Sequence[Metrics]) -> float | None:
    """Return the mean accuracy over clients, or exp of their mean loss."""
    if not own:
        return None
    judged = judged_by(own[0])
    values = [metrics["accuracy" if judged == "accuracy" else "loss"] for metrics in own]
    known = [value for value in values if value is not None]
    if len(known) < len(values):
        return None
    return mean(known) if judged == "accuracy" else perplexity(mean(known))
