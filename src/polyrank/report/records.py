"""The records of a run folder, typed.

Unknown fields are ignored and most known ones may be missing, so that a page can be made
of a run that is still going on. A number that is not finite reads as None.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator


def _finite(value: Any) -> Any:  # noqa: ANN401 - whatever JSON holds
    return None if isinstance(value, float) and not math.isfinite(value) else value


Whole = Annotated[int, Field(ge=-(2**53), le=2**53)]  # what a browser can count
Number = Annotated[float | None, BeforeValidator(_finite)]
Metrics = Mapping[str, Number]  # such as "accuracy" and "loss", or "perplexity"
Ranks = Mapping[str, Whole]  # module -> rank


class Record(BaseModel):
    """Base of all records: read-only, tolerant of fields it does not know; null is missing."""

    model_config = ConfigDict(frozen=True, extra="ignore", coerce_numbers_to_str=True)

    @model_validator(mode="before")
    @classmethod
    def _without_nulls(cls, value: Any) -> Any:  # noqa: ANN401 - whatever JSON holds
        if not isinstance(value, dict):
            return value
        return {name: field for name, field in value.items() if field is not None}


class Bytes(Record):
    """What went from clients to server (up) and back (down)."""

    up: Whole = 0
    down: Whole = 0


class Rejection(Record):
    """A client whose update was refused or did not come, and why."""

    client: str
    reason: str = ""


class Round(Record):
    """One round; round 0 is the state before training."""

    round: Whole
    cohort: tuple[str, ...] = ()
    refused: tuple[Rejection, ...] = ()
    failed: tuple[Rejection, ...] = ()
    train_loss: Number = None
    validation: Metrics | None = None
    test: Metrics | None = None
    bytes: Bytes = Bytes()


class Profile(Record):
    """What was measured of a client's data, and the ranks it led to."""

    event: Literal["profile"]
    client: str
    examples: Mapping[str, Whole] = Field(default_factory=dict)
    label_counts: tuple[Whole, ...] = ()
    criteria: Mapping[str, Number] = Field(default_factory=dict)
    score: Number = None
    contributions: Mapping[str, Number] = Field(default_factory=dict)
    ranks: Ranks = Field(default_factory=dict)
    cap: Whole | None = None
    reason: str = ""


class ClientUpdate(Record):
    """One accepted update of one client."""

    event: Literal["update"]
    round: Whole
    client: str
    examples: Whole | None = None
    loss: Number = None
    bytes: Bytes = Bytes()


class Final(Record):
    """A client's metrics before training, and with the global and its personal adapter."""

    model_config = ConfigDict(populate_by_name=True)

    event: Literal["final"]
    client: str
    before: Metrics | None = None
    shared: Metrics | None = Field(default=None, alias="global")
    personal: Metrics | None = None


class Timing(Record):
    """Seconds of one round by part ("train", "aggregate", ...)."""

    round: Whole
    seconds: Mapping[str, Number] = Field(default_factory=dict)


class Worst(Record):
    """The client that the global model serves worst."""

    final: Number = None
    client: str | None = None


class Summary(Record):
    """What is written once, when a run has finished."""

    name: str | None = None
    seed: int | None = None
    rounds: Whole | None = None
    accuracy: Metrics = Field(default_factory=dict)  # final, best, best_round
    perplexity: Metrics = Field(default_factory=dict)  # the same, of a language model
    macro_f1: Metrics = Field(default_factory=dict)
    balanced_accuracy: Metrics = Field(default_factory=dict)
    worst_client: Worst = Worst()
    personal: Metrics = Field(default_factory=dict)  # mean
    rounds_to_target: Whole | None = None
    bytes: Bytes | None = None
    parameters: Mapping[str, Whole] = Field(default_factory=dict)  # base, trained
    ranks: Mapping[str, Ranks] = Field(default_factory=dict)
    mean_rank: Number = None
    criterion_weights: Mapping[str, Number] = Field(default_factory=dict)
    rank_spread: Number = None
    label_names: tuple[str, ...] = ()
    aggregator: str | None = None
    allocator: str | None = None


@dataclass(frozen=True)
class Run:
    """All that a run folder holds; ``summary`` is None while the run is unfinished.

    Attributes:
        settings: the text of config.toml, or an empty string.
        rounds: by round number, each once.
        profiles: one a client, in natural order of the client names.
        notes: what was left out while reading, in plain words.
    """

    folder: Path
    settings: str = ""
    rounds: tuple[Round, ...] = ()
    profiles: tuple[Profile, ...] = ()
    updates: tuple[ClientUpdate, ...] = ()
    finals: tuple[Final, ...] = ()
    timings: tuple[Timing, ...] = ()
    summary: Summary | None = None
    notes: tuple[str, ...] = ()

    @property
    def finished(self) -> bool:
        """Whether the run came to its end."""
        return self.summary is not None

    @property
    def only_personal(self) -> bool:
        """Whether the clients' own models were judged and the global one was not."""
        return bool(self.finals) and not any(final.shared for final in self.finals)

    @property
    def name(self) -> str:
        """The run's own name, or its folder's."""
        return (self.summary and self.summary.name) or self.folder.resolve().name

    def ranks_of(self, profile: Profile) -> Ranks:
        """Return the ranks a client ended with, or those it started with while unfinished."""
        ended = self.summary.ranks.get(profile.client) if self.summary else None
        return ended or profile.ranks
