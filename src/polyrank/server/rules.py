"""The rules of a federation: who takes part in a round, how many must answer, how fast to learn."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from polyrank.aggregators import AGGREGATORS
from polyrank.lora.shapes import Compression
from polyrank.protocol.engine import Patience
from polyrank.seeding import numpy_stream
from polyrank.settings.schema import Settings


@dataclass(frozen=True)
class Rules:
    """What a round loop needs to know of the settings.

    Args:
        run: name of the run.
        seed: the run's root seed.
        rounds: how many there are.
        cohort: number of clients -> how many of them take part in a round.
        rate: round, from 1 -> what clients' learning rates are multiplied by in it.
        quorum: how many good updates a round needs.
        attempts: how often a round without them is tried.
        norm_bound: how many times as large as the others' an update may be; 0 for any size.
        seconds: after which a round with enough answers waits for no more; None for ever.
        average: weight of the past in the exported average; 0 for none.
        compression: how factors travel, both ways.
        in_use: whether the global model is evaluated without slots that nobody owns, which count
            where its scaling goes by its rank.
    """

    run: str
    seed: int
    rounds: int
    cohort: Callable[[int], int] = lambda clients: clients
    rate: Callable[[int], float] = lambda round: 1.0
    quorum: int = 1
    attempts: int = 1
    norm_bound: float = 0.0
    seconds: float | None = None
    average: float = 0.0
    compression: Compression = "none"
    in_use: bool = False

    def draw(self, roster: Sequence[str], number: int, attempt: int) -> list[str]:
        """Return the clients of one attempt at round ``number``, in the order of the roster."""
        rng = numpy_stream(self.seed, "cohort", number, attempt)
        drawn = sorted(rng.choice(len(roster), self.cohort(len(roster)), replace=False))
        return [roster[place] for place in drawn]

    def needed(self, clients: int) -> int:
        """Return how many good updates a round of ``clients`` in all must have."""
        return min(self.quorum, self.cohort(clients))

    def patience(self, clients: int) -> Patience:
        """Return how long a round of ``clients`` in all waits for answers."""
        return Patience(self.seconds, self.needed(clients))


def rules_of(settings: Settings) -> Rules:
    """Read the rules from a run's settings."""
    schedule, rounds = settings.training.schedule, settings.rounds
    return Rules(
        run=settings.name,
        seed=settings.seed,
        rounds=rounds,
        cohort=settings.cohort,
        rate=lambda number: rate_factor(schedule, number, rounds),
        quorum=settings.quorum,
        attempts=settings.attempts,
        norm_bound=settings.norm_bound,
        seconds=settings.round_timeout,
        average=settings.average,
        compression=settings.compression,
        in_use=settings.adapter.by_rank and not AGGREGATORS.build(settings.aggregator).one_unit,
    )


def rate_factor(schedule: str, number: int, rounds: int) -> float:
    """Return what learning rates are multiplied by in round ``number`` (from 1) of ``rounds``."""
    gone = (number - 1) / rounds
    if schedule == "linear":
        return 1 - gone
    if schedule == "cosine":
        return (1 + math.cos(math.pi * gone)) / 2
    return 1.0
