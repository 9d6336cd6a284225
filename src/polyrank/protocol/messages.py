"""What travels between the server and a client, and what an engine is asked to do.

Bytes are counted from ``Download`` and ``Update`` alone.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol, TypeAlias

from torch import Tensor

from polyrank.criteria import needs_probe
from polyrank.lora.base_change import Patch
from polyrank.lora.factors import Adapter, Tensors, adapter_bytes, tensors_bytes


@dataclass(frozen=True)
class TaskId:
    """What makes a task unique, so that late and repeated answers can be told."""

    run: str
    round: int
    client: str
    attempt: int = 0


@dataclass(frozen=True)
class Download:
    """What the server sends to a client.

    Args:
        adapter: the slots that the client works with; a factor that it has already is not there.
        extras: tensors that are not LoRA.
        base: what the client's base lacks, if the method changes the base.
    """

    adapter: Adapter
    extras: Tensors
    base: Patch | None = None

    @property
    def nbytes(self) -> int:
        """Bytes sent."""
        base = self.base.nbytes if self.base else 0
        return adapter_bytes(self.adapter) + tensors_bytes(self.extras) + base


@dataclass(frozen=True)
class TrainTask:
    """Train one client from a download.

    Args:
        id: the run, round, client and attempt.
        download: where training starts.
        learning_rate: this round's.
        slots: module -> the slots (r_k,) to train; None for all of the download's.
        last: the last finished round in which the client's update was accepted.
    """

    id: TaskId
    download: Download
    learning_rate: float
    slots: Mapping[str, Tensor] | None = None
    last: int | None = None


@dataclass(frozen=True)
class Wanted:
    """What clients are to measure.

    Args:
        criteria: names of criteria.
        ratios: how many explained-variance ratios of each module's inputs, 0 for none.
        head: the layer whose inputs are summed up by label; "" for none.
        products: whether their products are summed up as well.
    """

    criteria: tuple[str, ...] = ()
    ratios: int = 0
    head: str = ""
    products: bool = False

    def __bool__(self) -> bool:
        return bool(self.criteria or self.ratios or self.head)

    @property
    def needs_model(self) -> bool:
        """Whether it is measured with a model, which is sent then; counts need none."""
        return bool(self.ratios or self.head) or needs_probe(self.criteria)


NOTHING = Wanted()


@dataclass(frozen=True)
class ProbeTask:
    """Measure one client, after a short training if a criterion reads losses.

    Args:
        id: the rounds finished, as its round.
        download: where the probe's training starts, at the smallest rank; empty if there is none.
        learning_rate: that of the next round.
        wanted: what to measure.
        last: the last finished round in which the client's update was accepted.
    """

    id: TaskId
    download: Download
    learning_rate: float
    wanted: Wanted
    last: int | None = None


@dataclass(frozen=True)
class EvaluateTask:
    """Count right and wrong answers of a model on some rows.

    Args:
        id: whose turn it is; client "" for rows that are the server's.
        part: the server's validation or test rows, or the client's own test rows.
        download: the model; None for the client's own, as its last training left it.
        start: first row of the part.
        stop: one past the last row.
    """

    id: TaskId
    part: Literal["validation", "test", "client"]
    download: Download | None
    start: int
    stop: int


Task: TypeAlias = TrainTask | ProbeTask | EvaluateTask


@dataclass(frozen=True)
class Update:
    """What a client sends back after training.

    Args:
        id: the task's.
        adapter: the trained factors of the client's slots; of these, those that leave the client.
        extras: the trained tensors that are not LoRA.
        examples: number of training examples n_k, the usual client weight.
        loss: mean training loss over the last epoch.
        steps: optimiser steps taken.
        seconds: time spent on training alone.
        observed: module -> (r,) float32, what the allocator's observer gave for each slot.
    """

    id: TaskId
    adapter: Adapter
    extras: Tensors
    examples: float
    loss: float
    steps: int = 0
    seconds: float = field(default=0.0, compare=False)
    observed: Tensors = field(default_factory=dict)

    @property
    def nbytes(self) -> int:
        """Bytes sent."""
        sent = adapter_bytes(self.adapter) + tensors_bytes(self.extras)
        return sent + tensors_bytes(self.observed)


@dataclass(frozen=True)
class Measured:
    """What a client has measured: the floats that leave it, and what measuring them cost.

    Args:
        id: the task's.
        criteria: by name.
        steps: optimiser steps taken.
        seconds: time spent on training.
        spectra: module -> explained-variance ratios of its inputs, falling.
        features: sums of what the head is given, as ``head_inits.feature_sums`` packs them.
    """

    id: TaskId
    criteria: Mapping[str, float]
    steps: int
    seconds: float = field(default=0.0, compare=False)
    spectra: Mapping[str, Sequence[float]] = field(default_factory=dict)
    features: Tensors = field(default_factory=dict)

    @property
    def nbytes(self) -> int:
        """Bytes sent: eight for each number."""
        numbers = len(self.criteria) + sum(len(s) for s in self.spectra.values())
        return 8 * numbers + tensors_bytes(self.features)


@dataclass(frozen=True)
class Counted:
    """Answers of a model on some rows.

    Args:
        id: the task's.
        confusion: (classes, classes) int64, rows by true label, columns by answer; (1, 2) where
            labels are not to be told apart, right answers and all; of a language model (2,),
            tokens predicted rightly and all.
        loss: sum of the losses over the rows.
    """

    id: TaskId
    confusion: Tensor
    loss: float


@dataclass(frozen=True)
class Failure:
    """A task that came to nothing, and why."""

    id: TaskId
    reason: str


Answer: TypeAlias = Update | Measured | Counted | Failure


class Engine(Protocol):
    """Carries tasks to clients and brings their answers back."""

    def roster(self) -> Mapping[str, int]:
        """Return the clients that can be asked, with their number of training examples."""

    def run(self, tasks: Iterable[Task]) -> Iterator[Answer]:
        """Yield one answer for each task, in the order of the tasks, read as they are needed."""

    def commit(self, *trained: Mapping[str, int]) -> None:
        """Keep, of what clients store, only what the states that are kept need.

        Args:
            trained: of each state, client -> the last finished round in which it trained.
        """

    def close(self) -> None:
        """Free what the engine holds."""
