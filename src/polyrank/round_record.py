"""What happened in a round, and its lines in the run folder."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from polyrank.adapter import Adapter
from polyrank.guards import refusal
from polyrank.messages import Failure, TrainTask, Update

Metrics: TypeAlias = Mapping[str, float] | None


@dataclass(frozen=True)
class Turn:
    """What one client's turn in a round came to; ``refused`` or ``failed`` says why not."""

    client: str
    down: int
    up: int = 0
    examples: float = 0
    loss: float | None = None
    steps: int = 0
    seconds: float = 0.0
    refused: str | None = None
    failed: str | None = None

    @property
    def accepted(self) -> bool:
        """Whether the update went into the global model."""
        return self.refused is None and self.failed is None


@dataclass(frozen=True)
class RoundRecord:
    """What happened in one round; round 0 is the state before training."""

    round: int
    turns: Sequence[Turn] = ()
    validation: Metrics = None
    test: Metrics = None
    seconds: Mapping[str, float] = field(default_factory=dict)


def turn_of(task: TrainTask, answer: object, expected: Adapter, cut: Mapping[str, int]) -> Turn:
    """Judge a client's answer: accepted, refused by the guards, or failed.

    Args:
        task: what the client was asked.
        answer: what came back.
        expected: has the names, shapes, types and slots that the update's adapter must have.
        cut: module -> the smaller number of slots to which its client may have cut it.
    """
    down = task.download.nbytes
    if isinstance(answer, Failure):
        return Turn(task.id.client, down, failed=answer.reason)
    if not isinstance(answer, Update):
        return Turn(task.id.client, down, failed=f"sent {type(answer).__name__}, not an update")
    return Turn(
        task.id.client,
        down,
        answer.nbytes,
        answer.examples,
        answer.loss if math.isfinite(answer.loss) else None,
        answer.steps,
        answer.seconds,
        refused=refusal(answer, task, expected, cut),
    )


def round_line(record: RoundRecord, probe: Mapping[str, int] | None) -> dict[str, Any]:
    """Return a round's line of ``rounds.jsonl``; ``probe`` is what measuring for it cost."""
    losses = [(t.loss, t.examples) for t in record.turns if t.accepted and t.loss is not None]
    examples = sum(n for _, n in losses)
    return {
        "round": record.round,
        "cohort": [t.client for t in record.turns],
        "refused": [{"client": t.client, "reason": t.refused} for t in record.turns if t.refused],
        "failed": [{"client": t.client, "reason": t.failed} for t in record.turns if t.failed],
        "train_loss": sum(loss * n for loss, n in losses) / examples if examples else None,
        "validation": record.validation,
        "test": record.test,
        "bytes": {
            "up": sum(t.up for t in record.turns) + (probe or {}).get("up", 0),
            "down": sum(t.down for t in record.turns) + (probe or {}).get("down", 0),
        },
        "steps": sum(t.steps for t in record.turns) + (probe or {}).get("steps", 0),
        "probe_steps": (probe or {}).get("steps", 0),
    }


def update_lines(record: RoundRecord) -> list[dict[str, Any]]:
    """Return a round's lines of ``clients.jsonl``, one for each accepted update."""
    return [
        {
            "event": "update",
            "round": record.round,
            "client": t.client,
            "examples": t.examples,
            "loss": t.loss,
            "steps": t.steps,
            "bytes": {"up": t.up, "down": t.down},
        }
        for t in record.turns
        if t.accepted
    ]
