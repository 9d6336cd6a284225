"""What a criterion may see of a client. It stays on the client; only floats leave it."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from polyrank.errors import DataError, ShapeError

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class ClientView:
    """One client's data as the criteria see them.

    Args:
        label_counts: (classes,) examples per label, 0 where absent; floats, for counts that
            were noised. (0,) for a task without labels.
        examples: number of training examples.
        epoch_losses: (E,) mean loss in each of E equal parts of the probe's steps, or None.
        example_losses: (n,) loss of each of the client's examples, or of a sample of them, under
            the trained probe, or None.
        token_losses: (m,) the same of each token that is predicted, in language modelling.
        token_counts: (vocabulary,) occurrences of each token in the client's texts, or None.

    Raises:
        ShapeError: an array is not one-dimensional.
        DataError: a number is negative, NaN or infinite.
    """

    label_counts: Floats
    examples: float
    epoch_losses: Floats | None = None
    example_losses: Floats | None = None
    token_losses: Floats | None = None
    token_counts: Floats | None = None

    def __post_init__(self) -> None:
        checked = non_negative(np.asarray([self.examples]), "examples")
        object.__setattr__(self, "examples", float(checked[0]))
        for name in (
            "label_counts",
            "epoch_losses",
            "example_losses",
            "token_losses",
            "token_counts",
        ):
            value = getattr(self, name)
            if value is not None:
                object.__setattr__(self, name, non_negative(value, name))


def non_negative(values: NDArray[np.generic], name: str) -> Floats:
    """Return ``values`` as float64 (n,), each finite and at least 0.

    Raises:
        ShapeError: not one-dimensional.
        DataError: a number is negative, NaN or infinite; the message names it.
    """
    array = np.asarray(values, dtype=np.float64)
    if array.ndim != 1:
        raise ShapeError(f"{name}: expected one dimension, got shape {array.shape}")
    good = np.isfinite(array) & (array >= 0)
    if not good.all():
        at = int(np.argmin(good))
        raise DataError(f"{name}: expected finite numbers >= 0, got {array[at]} at position {at}")
    return array


def label_shares(view: ClientView) -> Floats:
    """Return each label's share of the counts, ascending so that the order of labels is no matter.

    Returns:
        (classes,) summing to 1, or all 0 when every count is 0.

    Raises:
        DataError: the task has no labels.
    """
    if view.label_counts.size == 0:
        raise DataError("a label criterion needs labels: expected label_counts, got none")
    counts = np.sort(view.label_counts)
    counts = counts / (counts[-1] or 1.0)
    shares: Floats = counts / (counts.sum() or 1.0)
    return shares


def entropy(shares: Floats) -> float:
    """Shannon entropy -sum q ln q in nats of shares (m,) that sum to 1, with 0 ln 0 = 0."""
    present = shares[shares > 0]
    return max(0.0, -float(np.sum(present * np.log(present))))
