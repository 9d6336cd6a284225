"""A learning rate for every arm, by validation rows, before the arms are compared.

A method's best step size is its own: one that takes larger products needs a smaller one, and so
does a client that trains alone for all rounds at once. So every arm has three tries, at seeds that
are not among those compared. Where the clients' own models are all there is, there are no
validation rows of theirs: the tries are judged on their own test rows, as those of other seeds.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from polyrank.intervals import interval
from polyrank.judging import goodness, judged_by
from polyrank.record.schema import Metrics
from polyrank.report.reading import Run

STEPS = (1 / 3, 1.0, 3.0)  # of the learning rate that is given


@dataclass(frozen=True)
class Tuned:
    """What the tries of an arm came to.

    Args:
        arm: its name.
        given: the learning rate of its settings.
        tries: learning rate -> metrics of ``judged_try``, a seed each; None of a run that failed.
    """

    arm: str
    given: float
    tries: Mapping[float, Sequence[Metrics | None]]

    @cached_property
    def means(self) -> Mapping[float, Metrics | None]:
        """Learning rate -> mean over its seeds; None if one has failed."""
        return {rate: mean_of(metrics) for rate, metrics in self.tries.items()}

    @property
    def best(self) -> float | None:
        """The learning rate with the best model, the given one among equals; None if all failed."""
        return next(iter(self._ranked), None)

    @property
    def at_edge(self) -> bool:
        """Whether the best is the largest or the smallest that was tried."""
        return self.best is not None and self.best in (min(self.tries), max(self.tries))

    @property
    def by_luck(self) -> bool:
        """Whether seeds do not tell the best from the next best: the 90 % interval holds zero."""
        if len(self._ranked) < 2:
            return False
        first, second = (
            [-math.inf if metrics is None else goodness(metrics) for metrics in self.tries[rate]]
            for rate in self._ranked[:2]
        )
        if not all(map(math.isfinite, [*first, *second])):
            return False
        found = interval([one - other for one, other in zip(first, second, strict=True)])
        return found is not None and not found.beside_zero

    @property
    def seeds(self) -> int:
        """With how many seeds each rate was tried."""
        return max(map(len, self.tries.values()))

    def shown(self, rate: float) -> float | None:
        """Return accuracy or perplexity at a rate, the mean over seeds."""
        metrics = self.means[rate] or {}
        return metrics.get(judged_by(metrics))

    @cached_property
    def _ranked(self) -> list[float]:
        known = [rate for rate, metrics in self.means.items() if metrics]
        return sorted(known, key=self._merit, reverse=True)

    def _merit(self, rate: float) -> tuple[float, float, float]:
        """Return what is larger for better: accuracy, then loss, then that nothing is changed."""
        metrics = self.means[rate] or {}
        loss = metrics.get("loss")
        less = -math.inf if loss is None else -loss
        return goodness(metrics), less, -abs(math.log(rate / self.given))


def rates_around(given: float) -> tuple[float, ...]:
    """Return the learning rates that are tried, with two digits but for the given one."""
    return tuple(given if step == 1.0 else float(f"{given * step:.2g}") for step in STEPS)


def mean_of(found: Sequence[Metrics | None]) -> Metrics | None:
    """Return the mean over seeds, or clients; None if one has failed."""
    known = [metrics for metrics in found if metrics]
    if len(known) < len(found):
        return None
    return {name: _mean([metrics.get(name) for metrics in known]) for name in known[0]}


def _mean(values: Sequence[float | None]) -> float | None:
    good = [value for value in values if value is not None]
    return sum(good) / len(good) if len(good) == len(values) else None


def judged_try(run: Run) -> Metrics | None:
    """Return what the global model came to on validation rows at the end.

    Where there is none: clients' own models on their own test rows, mean over clients.
    """
    if run.only_personal:
        return mean_of([final.personal for final in run.finals])
    return next((line.validation for line in reversed(run.rounds) if line.validation), None)
