"""The metric that a model is judged by: accuracy, or perplexity for language models.

The accuracy of single tokens says little of a language model: most are easy or beyond any
model, and one that is nearly right counts as wrong.
"""

import math
from collections.abc import Mapping
from typing import Any, Literal

Judged = Literal["accuracy", "perplexity"]


def judged_by(metrics: Mapping[str, Any] | None) -> Judged:
    """Return the name of the metric that these are judged by."""
    return "perplexity" if "perplexity" in (metrics or {}) else "accuracy"


def goodness(metrics: Mapping[str, Any]) -> float:
    """Return what is larger for better: accuracy, or of a language model the loss below zero.

    What is None, as a number that is not finite is in a record, is worse than all else.
    """
    if judged_by(metrics) == "accuracy":
        value, sign = metrics["accuracy"], 1
    else:
        value, sign = metrics["loss"], -1
    return -math.inf if value is None or math.isnan(value) else sign * float(value)


def perplexity(loss: float) -> float:
    """Return exp of a mean loss in nats a token; a loss above 700 counts as 700."""
    return math.exp(min(loss, 700.0))


def perplexity_text(value: float) -> str:
    """Return 12345.678 as "12345.68", and a million and above as "1.00e+06"."""
    return f"{value:.2f}" if value < 999_999.995 else f"{value:.2e}"
