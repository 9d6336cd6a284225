"""What a partitioner sees of a data set, and what several partitioners do with it."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np

from polyrank.errors import DataError, SettingsError


@dataclass(frozen=True, eq=False)
class Rows:
    """Labels and groups of the rows that are to be split.

    Args:
        labels: (n,) integers.
        groups: (n,) strings, or None if the data set has no groups.
    """

    labels: np.ndarray
    groups: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.labels)

    def by_label(self) -> list[np.ndarray]:
        """Return the row indices of each label that is present, labels ascending."""
        order = np.argsort(self.labels, kind="stable")
        starts = np.unique(self.labels[order], return_index=True)[1]
        return np.split(order, starts[1:])


Partition: TypeAlias = Callable[[Rows, int | None, np.random.Generator], list[np.ndarray]]


def deal(
    by_label: list[np.ndarray], counts: np.ndarray, rng: np.random.Generator
) -> list[np.ndarray]:
    """Hand out rows at random in given numbers.

    Args:
        by_label: row indices of each of C labels.
        counts: (C, clients) integers; row c sums to the number of rows of label c.
        rng: decides which row goes where.

    Returns:
        Sorted row indices (n_k,) of each client.
    """
    parts: list[list[np.ndarray]] = [[] for _ in range(counts.shape[1])]
    for rows, numbers in zip(by_label, counts, strict=True):
        pieces = np.split(rng.permutation(rows), np.cumsum(numbers)[:-1])
        for part, piece in zip(parts, pieces, strict=True):
            part.append(piece)
    return [np.sort(np.concatenate(part)) for part in parts]


def even_counts(total: int, owners: np.ndarray, clients: int) -> np.ndarray:
    """Split ``total`` rows evenly over ``owners``; the first of them get what does not divide.

    Returns:
        (clients,) integers, 0 for clients that are no owners.
    """
    counts = np.zeros(clients, dtype=np.int64)
    counts[owners] = total // len(owners)
    counts[owners[: total % len(owners)]] += 1
    return counts


def check_clients(name: str, rows: Rows, clients: int | None, min_examples: int = 1) -> int:
    """Return ``clients`` if it can be had from ``rows``.

    Args:
        name: the partitioner, for messages.
        rows: what is to be split.
        clients: how many clients are asked for.
        min_examples: how many rows each of them needs.

    Raises:
        SettingsError: ``clients`` or ``min_examples`` is no number above 0.
        DataError: there are too few rows.
    """
    if clients is None or clients < 1:
        raise SettingsError(
            f"partitioner {name!r}: clients = {clients}: expected a whole number of at least 1"
        )
    if min_examples < 1:
        raise SettingsError(
            f"partitioner {name!r}: min_examples = {min_examples}: expected at least 1"
        )
    if len(rows) < clients * min_examples:
        raise DataError(
            f"partitioner {name!r}: {len(rows)} rows are too few for {clients} clients with at "
            f"least {min_examples} each: ask for fewer clients"
        )
    return clients


def check_positive(name: str, option: str, value: float) -> None:
    """Raise SettingsError unless an option is a finite number above 0."""
    if not (math.isfinite(value) and value > 0):
        raise SettingsError(
            f"partitioner {name!r}: {option} = {value}: expected a finite number above 0"
        )
