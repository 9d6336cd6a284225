"""The messages between the server and its clients.

Bytes are counted from ``Download`` and ``Update`` alone.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

from torch import Tensor

from polyrank.criteria import needs_probe
from polyrank.lora.base_change import Patch
from polyrank.lora.factors import Adapter, Tensors, adapter_bytes, tensors_bytes
from polyrank.lora.int8 import Packed
from polyrank.lora.shapes import Compression
from polyrank.protocol.counts import Confusion, Counts

ServerPart: TypeAlias = Literal["validation", "test", "cuts"]


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
        scales: of what is in eight bits (``polyrank.lora.int8``).
        steps: modules whose factors are a step from those that the client was sent before, and how
            many slots these have then.
    """

    adapter: Adapter
    extras: Tensors
    base: Patch | None = None
    scales: Tensors = field(default_factory=dict)
    steps: Mapping[str, int] = field(default_factory=dict)

    @property
    def nbytes(self) -> int:
        """Bytes sent."""
        base = self.base.nbytes if self.base else 0
        sent = adapter_bytes(self.adapter) + tensors_bytes(self.extras)
        return sent + tensors_bytes(self.scales) + base

    def opened(self) -> tuple[Adapter, Tensors]:
        """Return the adapter and the extras in full."""
        return Packed(self.adapter, self.extras, self.scales).opened()


@dataclass(frozen=True)
class ChangeRule:
    """How a client cuts its change before it sends it (``polyrank.lora.changes``).

    Args:
        error: share of the squared norm of each module's change that may be left behind.
        feedback: what earlier changes left is added with this weight a round that has passed.
        most: the largest rank that is sent; None for twice the slots that were trained.
        keeps: whether the client keeps what it was sent, for a step from there next time.
    """

    error: float
    feedback: float = 1.0
    most: int | None = None
    keeps: bool = False

    def largest(self, slots: int) -> int:
        """Return the largest rank that may be sent of a module with so many slots."""
        return 2 * slots if self.most is None else min(2 * slots, self.most)


@dataclass(frozen=True)
class TrainTask:
    """Train one client from a download.

    Args:
        id: the run, round, client and attempt.
        download: where training starts.
        rate: the client's own learning rates are multiplied by it in this round.
        slots: module -> the slots (r_k,) to train; None for all of the download's. With ``change``
            those that the download lacks start from the seed of the round, without effect.
        last: the last finished round in which the client's update was accepted.
        change: how to cut the change that is sent; None to send the trained factors themselves.
        compression: how the update is to travel.
    """

    id: TaskId
    download: Download
    rate: float
    slots: Mapping[str, Tensor] | None = None
    last: int | None = None
    change: ChangeRule | None = None
    compression: Compression = "none"


@dataclass(frozen=True)
class Wanted:
    """What clients are to measure.

    Args:
        criteria: names of criteria.
        ratios: how many explained-variance ratios of each module's inputs, 0 for none.
        head: the layer whose inputs are summed up by label; "" for none.
        products: whether their products are summed up as well.
        columns: places of the inputs of a table whose numbers are summed up; () for none.
    """

    criteria: tuple[str, ...] = ()
    ratios: int = 0
    head: str = ""
    products: bool = False
    columns: tuple[int, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.criteria or self.ratios or self.head or self.columns)

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
        rate: the client's own learning rates are multiplied by it.
        wanted: what to measure.
        last: the last finished round in which the client's update was accepted.
    """

    id: TaskId
    download: Download
    rate: float
    wanted: Wanted
    last: int | None = None


@dataclass(frozen=True)
class ProfileTask:
    """Ask a client for its profile, before anything is measured or trained.

    Args:
        id: the run and the client.
    """

    id: TaskId


@dataclass(frozen=True)
class EvaluateTask:
    """Count a client's right and wrong answers on its own test rows.

    Args:
        id: whose turn it is.
        download: the model; None for the client's own, as its last training left it.
        cuts: numbers of slots; the loss of the model cut to its first so many is told, too.
    """

    id: TaskId
    download: Download | None
    cuts: Sequence[int] = field(default_factory=list)


@dataclass(frozen=True)
class ExamineTask:
    """Count the answers of the server's model on rows of its own; it never goes to a client.

    Args:
        id: the round; its client is "".
        part: which of the server's rows; "cuts" are the validation rows on which a model that is
            cut to fewer slots is judged.
        download: the model.
        start: first row of the part.
        stop: one past the last row.
    """

    id: TaskId
    part: ServerPart
    download: Download
    start: int
    stop: int


Task: TypeAlias = ProfileTask | ProbeTask | TrainTask | EvaluateTask


@dataclass(frozen=True)
class Profile:
    """What a client tells of itself; None for what it does not agree to tell.

    Args:
        id: the task's.
        examples: number of training examples.
        test_examples: number of test examples of its own.
        label_counts: training examples of each label; with noise, rounded, where that is
            asked for.
        cap: the largest rank that it trains in any module; None for any.
    """

    id: TaskId
    examples: int | None = None
    test_examples: int | None = None
    label_counts: Sequence[int] | None = None
    cap: int | None = None


@dataclass(frozen=True)
class Update:
    """What a client sends back after training.

    Args:
        id: the task's.
        adapter: the trained factors of the client's slots; of these, those that leave the client.
            Or factors of its change, cut to the rank that it needs, where that was asked for.
        extras: the trained tensors that are not LoRA.
        examples: number of training examples n_k, the usual client weight.
        loss: mean training loss over the last epoch.
        steps: optimiser steps taken.
        seconds: time spent on training alone.
        observed: module -> (r,) float32, what the allocator's observer gave for each slot.
        shares: module -> share of the squared norm of its change that is sent, where it is cut.
        scales: of what is in eight bits (``polyrank.lora.int8``): a difference to what was sent.
    """

    id: TaskId
    adapter: Adapter
    extras: Tensors
    examples: float
    loss: float
    steps: int = 0
    seconds: float = field(default=0.0, compare=False)
    observed: Tensors = field(default_factory=dict)
    shares: Mapping[str, float] = field(default_factory=dict)
    scales: Tensors = field(default_factory=dict)

    @property
    def nbytes(self) -> int:
        """Bytes sent."""
        sent = adapter_bytes(self.adapter) + tensors_bytes(self.extras)
        numbers = tensors_bytes(self.scales) + tensors_bytes(self.observed)
        return sent + numbers + 8 * len(self.shares)


@dataclass(frozen=True)
class Measured:
    """What a client has measured: the floats that leave it, and what measuring them cost.

    Args:
        id: the task's.
        criteria: by name.
        steps: optimiser steps taken.
        seconds: time spent on training.
        spectra: module -> explained-variance ratios of its inputs, falling.
        features: sums of what the head is given, as ``head_inits.feature_sums`` packs them, or
            of a table's columns, those of ``inputs.column_sums``.
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
    """How well a model answered on some rows.

    Args:
        id: the task's.
        counts: by label, or where labels are not to be told apart of all, or of tokens.
        loss: sum of the losses over the rows.
        losses: such a sum of each of the cut models that were asked for.
    """

    id: TaskId
    counts: Counts
    loss: float
    losses: Sequence[float] = field(default_factory=list)

    @property
    def nbytes(self) -> int:
        """Bytes sent: eight for each number."""
        counts = self.counts
        numbers = counts.counts.numel() if isinstance(counts, Confusion) else 2
        return 8 * (numbers + 1 + len(self.losses))


@dataclass(frozen=True)
class Failure:
    """The reason why a task gave no result."""

    id: TaskId
    reason: str


Answer: TypeAlias = Profile | Measured | Update | Counted | Failure
