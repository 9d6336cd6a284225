"""Criteria: what is measured of a client's data, one float each. Only these leave the client.

A criterion is a function of a ``ClientView``; larger means a higher rank. One's own is
named ``"package.module:function"``; if it reads more than counts, it says so:
``@reads_losses``, ``@reads_tokens``.
"""

import math
from collections.abc import Iterable

from polyrank.criteria.criterion import Criterion, reads_losses, reads_tokens
from polyrank.criteria.noise import noisy_counts, noisy_view
from polyrank.criteria.view import ClientView
from polyrank.errors import DataError
from polyrank.registry import Found, Registry

__all__ = [
    "CRITERIA",
    "ClientView",
    "Criterion",
    "measure",
    "needs_probe",
    "noisy_counts",
    "noisy_view",
    "reads_losses",
    "reads_tokens",
    "without_noise",
]


def _made(found: Found) -> Criterion:
    """Make a criterion; a plain function of one's own reads counts alone."""
    made = found.bound()
    return made if isinstance(made, Criterion) else Criterion(made)


CRITERIA: Registry[Criterion] = Registry(
    "criterion",
    {
        "loss_entropy": "polyrank.criteria.loss_entropy:loss_entropy",
        "loss_entropy_examples": "polyrank.criteria.loss_entropy_examples:loss_entropy_examples",
        "label_entropy": "polyrank.criteria.label_entropy:label_entropy",
        "gini_simpson": "polyrank.criteria.gini_simpson:gini_simpson",
        "label_count": "polyrank.criteria.label_count:label_count",
        "token_loss_spread": "polyrank.criteria.token_loss_spread:token_loss_spread",
        "token_entropy": "polyrank.criteria.token_entropy:token_entropy",
        "sample_count": "polyrank.criteria.sample_count:sample_count",
    },
    group="polyrank.criteria",
    make=_made,
)


def measure(names: Iterable[str], view: ClientView) -> dict[str, float]:
    """Compute the named criteria of one client.

    Raises:
        UnknownNameError: no such criterion.
        DataError: the view lacks what a criterion reads, or it gave no finite number.
    """
    measured: dict[str, float] = {}
    for name in names:
        value = float(CRITERIA.build(name)(view))
        if not math.isfinite(value):
            raise DataError(f"criterion {name!r}: expected a finite number, got {value}")
        measured[name] = value
    return measured


def needs_probe(names: Iterable[str]) -> bool:
    """Tell whether a named criterion reads losses, so that clients must train a probe first.

    Raises:
        UnknownNameError: no such criterion.
    """
    return any("losses" in CRITERIA.build(name).reads for name in names)


def without_noise(names: Iterable[str]) -> list[str]:
    """Return those criteria that noise on the counts does not reach: they read losses or tokens.

    Raises:
        UnknownNameError: no such criterion.
    """
    return [name for name in names if CRITERIA.build(name).reads]
