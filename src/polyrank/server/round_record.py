"""What happened in a round, turn by turn."""

import math
from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TypeAlias

from polyrank.lora.factors import Adapter
from polyrank.protocol.messages import Failure, TrainTask, Update
from polyrank.server.guards import refusal

LONGEST_REASON = 2000  # characters of what a client says of its failure

MaybeMetrics: TypeAlias = Mapping[str, float] | None


@dataclass(frozen=True)
class Turn:
    """The outcome of one client's turn in a round; ``refused`` or ``failed`` says why it was lost.

    ``times_median`` is the size of its update over that of the round's median one. Where clients
    send changes, ``ranks`` are those of the change, by module, and ``shares`` how much of its
    squared norm they hold.
    """

    client: str
    down: int
    up: int = 0
    examples: float = 0
    loss: float | None = None
    steps: int = 0
    seconds: float = 0.0
    refused: str | None = None
    failed: str | None = None
    times_median: float | None = None
    ranks: Mapping[str, int] = field(default_factory=dict)
    shares: Mapping[str, float] = field(default_factory=dict)

    @property
    def accepted(self) -> bool:
        """Whether the update went into the global model."""
        return self.refused is None and self.failed is None


@dataclass(frozen=True)
class RoundRecord:
    """What happened in one round; round 0 is the state before training.

    ``earlier`` are turns that came to nothing: of attempts that were repeated, and of clients
    that could not be measured. What they sent and were sent counts. ``cuts`` are the losses of the
    cut global model, where the allocator has asked for them before the round; ``down`` is how many
    slots of each module clients were sent, where that is not all of theirs.
    """

    round: int
    turns: Sequence[Turn] = ()
    validation: MaybeMetrics = None
    test: MaybeMetrics = None
    seconds: Mapping[str, float] = field(default_factory=dict)
    earlier: Sequence[Turn] = ()
    cuts: Mapping[int, float] = field(default_factory=dict)
    down: int | None = None

    @property
    def all_turns(self) -> Sequence[Turn]:
        """Every turn that was taken, those that came to nothing first."""
        return (*self.earlier, *self.turns)


def turn_of(
    task: TrainTask,
    answer: object,
    expected: Adapter,
    most: float,
    cut: Mapping[str, Container[int]],
    *,
    observes: bool = False,
) -> Turn:
    """Judge a client's answer: accepted, refused by the guards, or failed.

    Args:
        task: what the client was asked.
        answer: what came back.
        expected: has the names, shapes, types and slots that the update's adapter must have.
        most: how many training examples the client has said that it holds.
        cut: module -> the smaller numbers of slots to which its client may have cut it.
        observes: whether it must hold what the allocator's observer gives.
    """
    client, down = task.id.client, task.download.nbytes
    if isinstance(answer, Failure):
        return Turn(client, down, failed=brief(answer.reason))
    if not isinstance(answer, Update):
        return Turn(client, down, failed=f"sent {type(answer).__name__}, not an update")
    refused = refusal(answer, task, expected, most, cut, observes=observes)
    if refused:
        return Turn(client, down, _sent_bytes(answer), refused=refused)
    loss = float(answer.loss) if math.isfinite(answer.loss) else None
    turn = Turn(client, down, answer.nbytes, answer.examples, loss, answer.steps, answer.seconds)
    if task.change is None:
        return turn
    ranks = {module: answer.adapter[module].rank for module in expected}
    return replace(turn, ranks=ranks, shares={m: answer.shares[m] for m in expected})


def _sent_bytes(update: Update) -> int:
    """Return the bytes of an update that may hold anything; 0 where they cannot be told."""
    try:
        return int(update.nbytes)
    except Exception:  # whatever stands where tensors should
        return 0


def brief(reason: object) -> str:
    """Return a client's own words, cut where they are longer than any reason is."""
    text = str(reason)
    return text if len(text) <= LONGEST_REASON else f"{text[:LONGEST_REASON]} ..."


def instead(answer: object) -> str:
    """Say what came instead of an answer: a failure's reason, or a message of another type."""
    return brief(getattr(answer, "reason", f"sent {type(answer).__name__}"))
