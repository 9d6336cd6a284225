"""How a run's models are judged on the page: by accuracy, or language models by perplexity."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from statistics import fmean

from polyrank.judging import Judged, judged_by
from polyrank.judging import perplexity as exp_of
from polyrank.record.lines import RoundLine
from polyrank.record.schema import Metrics
from polyrank.report.charts import PERCENT_AXIS
from polyrank.report.parts import Trace
from polyrank.report.reading import Run
from polyrank.report.words import percent, shown_perplexity


@dataclass(frozen=True, eq=False)
class Yardstick:
    """One way to judge.

    Args:
        metric: its name in the records.
        show: turns a value into words.
        hover: plotly.js's format of a value.
        axis: of a chart of values.
        falls: a smaller value is better.
    """

    metric: Judged
    show: Callable[[float | None], str]
    hover: str
    axis: Trace
    falls: bool

    @property
    def title(self) -> str:
        """The metric's name as a heading."""
        return self.metric.capitalize()

    def difference(self, value: float) -> str:
        """Return a difference with its sign, of shares in points."""
        return f"{value:+.2f}" if self.falls else f"{100 * value:+.1f} points"

    def worst(self, values: Iterable[tuple[float, str]]) -> tuple[float | None, str | None]:
        """Return the worst of values that come with a name; None, None where there are none."""
        known = list(values)
        if not known:
            return None, None
        return max(known) if self.falls else min(known)

    def mean(self, clients: Sequence[Metrics]) -> float | None:
        """Return the mean over clients; of perplexity exp of their mean loss."""
        values = [of.get("loss" if self.falls else self.metric) for of in clients]
        known = [value for value in values if value is not None]
        if not known or len(known) < len(values):
            return None
        return exp_of(fmean(known)) if self.falls else fmean(known)


ACCURACY = Yardstick("accuracy", percent, ".1%", PERCENT_AXIS, falls=False)
PERPLEXITY = Yardstick("perplexity", shown_perplexity, ".4~r", {}, falls=True)


def yardstick(run: Run) -> Yardstick:
    """Return how a run is judged; by accuracy as long as nothing has been measured."""
    tokens = any(judged_by(measured(record)) == "perplexity" for record in run.rounds)
    return PERPLEXITY if tokens else ACCURACY


def measured(record: RoundLine) -> Metrics:
    """Return a round's metrics on test data, or on validation data where there are no others."""
    return record.test or record.validation or {}


def value_of(record: RoundLine, metric: str) -> float | None:
    """Return one metric of a round; the accuracy of a language model's tokens is none."""
    metrics = measured(record)
    if metric == "accuracy" and judged_by(metrics) != metric:
        return None
    return metrics.get(metric)
