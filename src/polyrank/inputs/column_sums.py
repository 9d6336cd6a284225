"""Sums over the rows of a table, by which its numbers are scaled, and the scaling they give.

Every sum is a plain sum over rows, so it does not matter how the rows are spread over clients,
and secure aggregation can compute it. Numbers are float32, of which float64 sums of squares
keep the deviation: its square is lost only below 1e-16 of the mean's.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from polyrank.errors import DataError
from polyrank.inputs.arrays import ExampleSet
from polyrank.lora.factors import Tensors


@dataclass(frozen=True)
class ColumnSums:
    """Sums over the rows in which a number is there.

    Args:
        counts: (k,) how many rows these are, whole numbers.
        sums: (k,) float64.
        squares: (k,) float64, sums of squares.
    """

    counts: Tensor
    sums: Tensor
    squares: Tensor

    def __add__(self, other: "ColumnSums") -> "ColumnSums":
        return ColumnSums(
            self.counts + other.counts, self.sums + other.sums, self.squares + other.squares
        )

    @property
    def tensors(self) -> dict[str, Tensor]:
        """The sums by name, as they travel."""
        return dict(vars(self))

    @classmethod
    def from_tensors(cls, tensors: Tensors) -> "ColumnSums":
        """Undo ``tensors``."""
        return cls(tensors["counts"].double(), tensors["sums"], tensors["squares"])

    def mean_and_deviation(self) -> tuple[Tensor, Tensor]:
        """Return the mean (k,) and the deviation (k,), both float64.

        A number that nobody has is 0, one that is always the same deviates by 1.
        """
        counts = self.counts.clamp(min=1)
        mean = self.sums / counts
        variance = self.squares / counts - mean.square()
        real = variance > 1e-12 * mean.square()
        return mean, torch.where(real, variance, 1.0).sqrt()


def column_sums(examples: ExampleSet, rows: Tensor, columns: Tensor) -> ColumnSums:
    """Sum up the numbers of some columns over some rows; a missing one counts nowhere.

    Args:
        examples: of a table, inputs (n, d).
        rows: (m,) row numbers.
        columns: (k,) places of the numbers among the inputs.

    Raises:
        DataError: there are no rows, or no such columns.
    """
    if not len(rows):
        raise DataError("expected rows to sum up, got none")
    total: ColumnSums | None = None
    for places in examples.blocks(rows):
        inputs, _ = examples.batch(places)
        if not isinstance(inputs, Tensor) or inputs.dim() != 2 or columns.max() >= inputs.shape[1]:
            raise DataError("expected the rows of a table to sum up, got other inputs")
        numbers = inputs[:, columns].double()
        there = ~numbers.isnan()
        known = numbers.where(there, 0.0)
        part = ColumnSums(there.sum(0), known.sum(0), known.square().sum(0))
        total = part if total is None else total + part
    assert total is not None  # there are rows
    return total
