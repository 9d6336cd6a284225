"""The lines of ``rounds.jsonl``, ``clients.jsonl`` and ``timings.jsonl``, typed."""

from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Literal, TypeAlias

from pydantic import AfterValidator, Field, model_validator
from pydantic_core import PydanticCustomError

from polyrank.errors import RunFolderError
from polyrank.record.schema import (
    Count,
    Metrics,
    Number,
    Part,
    RanksByModule,
    Reason,
    SlotNumbers,
    Total,
    Typed,
    shown,
)


class Traffic(Typed):
    """Bytes from clients to the server (up) and back (down)."""

    up: Total
    down: Total

    @property
    def total(self) -> int:
        """Both ways together."""
        return self.up + self.down


class NotTaken(Typed):
    """A client whose update was refused or did not come, and why."""

    client: str
    reason: Reason


class CutLoss(Typed):
    """The loss of the global model, cut to its first slots, on rows that nobody trains on."""

    slots: Count
    loss: Number


def _rising(curve: Sequence[CutLoss]) -> Sequence[CutLoss]:
    if any(one.slots >= next.slots for one, next in pairwise(curve)):
        raise PydanticCustomError("rising", "expected numbers of slots that rise")
    return curve


Curve = Annotated[Sequence[CutLoss], AfterValidator(_rising)]


class RoundLine(Typed):
    """One round; round 0 is the state before training.

    ``steps`` are optimiser steps of all clients, ``probe_steps`` those of them that measured;
    ``cuts`` of the model before the round, where the allocator asks for them; ``down`` slots of
    each module are sent to clients, where that is not all of theirs.
    """

    round: Count
    cohort: Sequence[str]
    refused: Sequence[NotTaken]
    failed: Sequence[NotTaken]
    train_loss: Number
    validation: Metrics | None
    test: Metrics | None
    bytes: Traffic
    steps: Total
    probe_steps: Total
    cuts: Curve | None = None
    down: Count | None = None


class ExampleCounts(Typed):
    """How many rows a client trains on, and how many of its own it is tested on."""

    train: Count
    test: Count


class ProfileLine(Typed):
    """What a client holds, and its ranks at the start with the reason for them."""

    event: Literal["profile"] = "profile"
    client: str
    examples: ExampleCounts | None = None
    label_counts: Sequence[Count]
    cap: Count | None
    criteria: Mapping[str, Number]
    score: Number
    contributions: Mapping[str, Number] | None
    ranks: RanksByModule
    slots: SlotNumbers | None = None
    reason: Reason


class RanksLine(Typed):
    """The ranks that a client has from a round on, where they were changed during the run."""

    event: Literal["ranks"] = "ranks"
    round: Count
    client: str
    criteria: Mapping[str, Number]
    score: Number
    contributions: Mapping[str, Number] | None
    ranks: RanksByModule
    slots: SlotNumbers | None = None
    reason: Reason


class UpdateLine(Typed):
    """An update of a client that went into the global model.

    Where clients send changes, ``ranks`` are theirs, and ``shares`` of the squared norm they hold.
    """

    event: Literal["update"] = "update"
    round: Count
    client: str
    examples: Number
    loss: Number
    steps: Count
    bytes: Traffic
    times_median: Number
    ranks: RanksByModule | None = None
    shares: Mapping[str, Part] | None = None

    @model_validator(mode="after")
    def _of_the_same_modules(self) -> "UpdateLine":
        if (self.ranks or {}).keys() != (self.shares or {}).keys():
            raise PydanticCustomError("modules", "expected shares of the modules that have ranks")
        return self


class FinalLine(Typed):
    """What three models come to on a client's own test rows.

    ``before`` is the model before round 1, ``shared`` (in the file ``global``) the global one
    at the end, ``personal`` what the client's last training left. ``failed`` are the reasons
    why one is missing that should be there.
    """

    event: Literal["final"] = "final"
    client: str
    before: Metrics | None
    shared: Metrics | None = Field(validation_alias="global", serialization_alias="global")
    personal: Metrics | None
    failed: Sequence[Reason] | None = None


class TimingLine(Typed):
    """Seconds of one round by part, such as ``train`` and ``evaluate``."""

    round: Count
    seconds: Mapping[str, Number]


ClientLine: TypeAlias = ProfileLine | RanksLine | UpdateLine | FinalLine
Line: TypeAlias = RoundLine | ClientLine | TimingLine
EVENTS: Mapping[str, type[ClientLine]] = {
    "profile": ProfileLine,
    "ranks": RanksLine,
    "update": UpdateLine,
    "final": FinalLine,
}


def client_line(value: Mapping[str, object], where: Path | str) -> ClientLine:
    """Check a line of ``clients.jsonl``, which is of the kind that its ``event`` names.

    Raises:
        RunFolderError: naming the place, the key, what was expected and what came.
    """
    event = value.get("event")
    if not isinstance(event, str) or event not in EVENTS:
        raise RunFolderError(
            f"{where}: event: expected one of {', '.join(EVENTS)}, got {shown(event)}"
        )
    return EVENTS[event].read(value, where)
