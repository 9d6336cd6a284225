"""The one way by which a client's update enters the next model.

Each is judged by the guards and folded as it comes, so that memory does not grow with the number
of clients. What is finite and huge is caught by a bound: an update whose numbers have a root mean
square more than ``bound`` times that of what its client was sent *and* of the round's median
update is refused. The median is known at the end of the round alone, so updates that are large
next to what was sent wait until then; without trouble there are none.

Ours. It is a guard against values that would break the model, such as features out of scale or a
training that diverges, not a defence against clients that lie within the bound.
"""

import math
from collections.abc import Callable, Container, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import torch

from polyrank.aggregators.aggregator import Fold, ServerModel
from polyrank.lora.alignment import aligned
from polyrank.lora.factors import Adapter, Factors, Tensors
from polyrank.models.input_scaling import is_scaling
from polyrank.protocol.messages import TrainTask, Update
from polyrank.server.guards import NONE
from polyrank.server.opening import opened
from polyrank.server.round_record import Turn, turn_of

SUSPECT = 10.0  # times the median; far above what honest updates reach, which share a start


@dataclass(frozen=True)
class Taken:
    """The result of one round's answers: who was accepted, and the aggregated model.

    Args:
        turns: of the clients, in the order of the answers.
        aggregated: makes the aggregated model; the server's own if nothing was accepted.
    """

    turns: tuple[Turn, ...]
    aggregated: Callable[[], ServerModel]

    @property
    def accepted(self) -> list[Turn]:
        """Turns whose update is in the model."""
        return [turn for turn in self.turns if turn.accepted]

    @property
    def largest(self) -> Turn:
        """The accepted turn with the largest update."""
        return max(self.accepted, key=lambda turn: (turn.times_median or 0.0, turn.client))

    def without_the_largest(self) -> tuple["Taken", str]:
        """Refuse the largest of updates that make a model which is not finite; name its client."""
        worst = self.largest
        reason = (
            "with it the next model has NaN or infinite numbers; it is "
            f"{worst.times_median:.3g} times as large as the median update (is its data out of "
            "scale, or the learning rate too high?)"
        )
        turns = tuple(replace(t, refused=reason) if t is worst else t for t in self.turns)
        return replace(self, turns=turns), worst.client

    def suspect(self, number: int) -> str | None:
        """Describe the largest update of round ``number``, if it is far larger than the others."""
        worst = self.largest
        if (worst.times_median or 0.0) <= SUSPECT:
            return None
        return (
            f"round {number} took an update of client {worst.client!r} that was "
            f"{worst.times_median:.3g} times as large as the median one"
        )


@dataclass
class Intake:
    """Checks and aggregates one round's answers, one by one.

    Args:
        fold: of the aggregator.
        model: the server's, which the clients were sent parts of.
        bound: how many times as large as the others' an update may be; 0 for any size.
        observes: whether an update must hold what the allocator's observer gives.
    """

    fold: Fold[Any]
    model: ServerModel
    bound: float
    observes: bool = False
    _turns: list[Turn] = field(default_factory=list)
    _sizes: dict[int, float] = field(default_factory=dict)
    _waiting: dict[int, tuple[Update, float]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._sums = self.fold.init(self.model)

    def take(
        self,
        task: TrainTask,
        answer: object,
        expected: Adapter,
        most: float,
        cut: Mapping[str, Container[int]] = NONE,
    ) -> Turn:
        """Check one answer, and aggregate it at once, or later if it is large.

        Args:
            task: what the client was asked.
            answer: what came back.
            expected: has the names, shapes, types and slots that its adapter must have.
            most: how many training examples the client may say that it holds.
            cut: module -> the smaller numbers of slots to which its client may have cut it.

        Returns:
            what the guards made of it; ``finish`` may still refuse what is too large.
        """
        turn = turn_of(task, answer, expected, most, cut, observes=self.observes)
        place = len(self._turns)
        self._turns.append(turn)
        if not turn.accepted or not isinstance(answer, Update):
            return turn
        answer = opened(answer, task, self.model)
        sent = self._size(self._start(answer.adapter, task), task.download.opened()[1])
        own = self._sizes[place] = self._size(answer.adapter, answer.extras)
        if self.bound and own > self.bound * sent:
            self._waiting[place] = answer, sent
        else:
            self._sums = self.fold.add(self._sums, answer)
        return turn

    def finish(self) -> Taken:
        """Decide about the large updates that waited, now that the median is known."""
        median = sorted(self._sizes.values())[(len(self._sizes) - 1) // 2] if self._sizes else 0.0
        for place, own in self._sizes.items():
            times = _times(own, median)
            self._turns[place] = replace(self._turns[place], times_median=times)
        for place, (update, sent) in self._waiting.items():
            own = self._sizes[place]
            if own > self.bound * max(median, sent):
                reason = self._reason(_times(own, median), _times(own, sent))
                self._turns[place] = replace(self._turns[place], refused=reason)
            else:
                self._sums = self.fold.add(self._sums, update)
        return Taken(tuple(self._turns), self._aggregated)

    def _aggregated(self) -> ServerModel:
        if not any(turn.accepted for turn in self._turns):
            return self.model
        return self.fold.finish(self._sums, self.model)

    def _size(self, adapter: Adapter, extras: Tensors) -> float:
        """Root mean square of a client's factors, those that stay on the server's side too.

        What scales inputs is not counted: it stays what it is, and may be large.
        """
        tensors = [t for n, t in extras.items() if t.is_floating_point() and not is_scaling(n)]
        for module, f in adapter.items():
            whole = f if f.complete else f.completed(self._own(module, f))
            tensors += whole.tensors.values()
        # sorted and laid out alike: the same to the bit, whichever way the tensors came here
        norms = [float(torch.linalg.vector_norm(aligned(t), dtype=torch.float64)) for t in tensors]
        return math.hypot(*sorted(norms)) / math.sqrt(max(1, sum(t.numel() for t in tensors)))

    def _start(self, adapter: Adapter, task: TrainTask) -> Adapter:
        """Return of the server's adapter what an update's training began with."""
        own = {m: self.model.adapter[m] for m in adapter}
        if task.change:
            return own
        return {m: f.take(adapter[m].slots) for m, f in own.items()}

    def _own(self, module: str, factors: Factors) -> Factors:
        return self.model.adapter[module].take(factors.slots)

    def _reason(self, median: float, sent: float) -> str:
        return (
            f"its numbers are {median:.3g} times as large as the median update's and {sent:.3g} "
            f"times as large as what it was sent; norm_bound allows {self.bound:g} times (is its "
            "data out of scale, or the learning rate too high?)"
        )


def _times(own: float, other: float) -> float:
    if other:
        return own / other
    return math.inf if own else 1.0


def is_finite(*models: ServerModel | None, memory: Tensors | None = None) -> bool:
    """Tell whether all numbers of some models, and of an optimiser's memory, are finite."""
    tensors = list((memory or {}).values())
    for model in models:
        if model is not None:
            tensors += [t for f in model.adapter.values() for t in f.tensors.values()]
            tensors += model.extras.values()
            tensors += model.base.totals.values() if model.base else ()
    return all(bool(torch.isfinite(t).all()) for t in tensors)
