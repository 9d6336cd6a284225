"""Examples as tensors, kept once for all clients and cut into batches by row number."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Protocol, Self, TypeAlias

import numpy as np
import torch
from torch import Tensor

from polyrank.errors import DataError

EVALUATION_BATCH = 500

Inputs: TypeAlias = Tensor | Mapping[str, Tensor]  # one tensor, or a model's named arguments


class ExampleSet(Protocol):
    """What every kind of examples offers: the rows of one part of a data set, in batches."""

    @property
    def labels(self) -> Tensor:
        """(n,) int64."""

    @property
    def input_shape(self) -> tuple[int, ...]:
        """Shape of one example."""

    def __len__(self) -> int: ...

    def batch(self, rows: Tensor) -> tuple[Inputs, Tensor]:
        """Return inputs and labels of some rows."""

    def parts(self, rows: Tensor, least: int, call_cost: float) -> Sequence[Tensor]:
        """Cut a training batch into parts that go through the model one after the other.

        Args:
            rows: (n,) of the batch.
            least: how many parts there are at least, if there are as many rows.
            call_cost: what one more call of the model costs, in tokens.
        """

    def blocks(self, rows: Tensor) -> Iterator[Tensor]:
        """Cut rows into blocks that are evaluated at once."""

    def token_counts(self, rows: Tensor) -> Tensor | None:
        """Count each token of some rows; None if these are no texts."""

    def share_memory(self) -> Self:
        """Move the tensors to memory that other processes can map."""


@dataclass(frozen=True)
class RowView:
    """Some rows of an example set.

    Args:
        examples: where the rows are; it may hold others beside them.
        numbers: (n,) int64 row numbers.
    """

    examples: ExampleSet
    numbers: Tensor

    def __len__(self) -> int:
        return len(self.numbers)

    @property
    def labels(self) -> Tensor:
        """(n,) int64."""
        return self.examples.labels[self.numbers]


@dataclass(frozen=True)
class Encoded:
    """Examples as a model takes them.

    Args:
        examples: of one part of a data set.
        cut: texts that were longer than ``max_length``.
        max_length: the most tokens of a text that are kept; None if these are no texts.
    """

    examples: ExampleSet
    cut: int = 0
    max_length: int | None = None


@dataclass(frozen=True)
class Examples:
    """Inputs and labels of one part of a data set.

    Args:
        inputs: (n, ...) float32, or uint8 that stands for 0..1; images are (n, c, h, w).
        labels: (n,) int64.
        mean: taken off the float inputs, one number or one a channel; none leaves them as they are.
        std: by which they are then divided.
    """

    inputs: Tensor
    labels: Tensor
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()

    @classmethod
    def from_arrays(cls, inputs: np.ndarray, labels: np.ndarray) -> "Examples":
        """Take arrays as data sets give them: images (n, h, w) or (n, h, w, c).

        Raises:
            DataError: the inputs are not numbers.
        """
        if inputs.dtype.kind not in "fiub":
            raise DataError(
                f"the inputs are texts ({inputs.dtype}): this model takes arrays of numbers; "
                "model = { kind = 'hf', name = ... } takes texts"
            )
        stored = inputs if inputs.dtype == np.uint8 else inputs.astype(np.float32, copy=False)
        if stored.ndim == 3:
            stored = stored[:, None]
        elif stored.ndim == 4:
            stored = stored.transpose(0, 3, 1, 2)
        return cls(
            torch.from_numpy(np.ascontiguousarray(stored)),
            torch.from_numpy(labels.astype(np.int64, copy=False)),
        )

    def normalised(self, mean: Sequence[float], std: Sequence[float]) -> "Examples":
        """Return the same examples, of which batches are ``(inputs - mean) / std``.

        Raises:
            DataError: there is neither one number nor one a channel; only images have channels.
        """
        channels = self.input_shape[0] if len(self.input_shape) == 3 else 1
        for name, given in {"mean": mean, "std": std}.items():
            if len(given) not in (1, channels):
                each = f", or one for each of {channels} channels" if channels > 1 else ""
                raise DataError(
                    f"data.normalise.{name}: expected one number{each}, got {len(given)}, for "
                    f"inputs of shape {self.input_shape}"
                )
        return replace(self, mean=tuple(mean), std=tuple(std))

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def input_shape(self) -> tuple[int, ...]:
        """Shape of one example as the model sees it."""
        return tuple(self.inputs.shape[1:])

    def batch(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        """Return float inputs (len(rows), ...) and labels (len(rows),)."""
        inputs = self.inputs[rows]
        if inputs.dtype == torch.uint8:
            inputs = inputs.float().div_(255)
        if self.mean:
            shape = (-1, *[1] * (inputs.dim() - 2))
            mean, std = (torch.tensor(v).view(shape) for v in (self.mean, self.std))
            inputs = (inputs - mean) / std
        return inputs, self.labels[rows]

    def parts(self, rows: Tensor, least: int, call_cost: float) -> Sequence[Tensor]:
        """Cut a training batch into ``least`` parts."""
        return rows.chunk(least)

    def blocks(self, rows: Tensor) -> Iterator[Tensor]:
        """Cut rows into blocks that are evaluated at once."""
        yield from rows.split(EVALUATION_BATCH)

    def token_counts(self, rows: Tensor) -> None:
        """Return nothing: these are no texts."""

    def share_memory(self) -> "Examples":
        """Move the tensors to memory that other processes can map."""
        inputs, labels = self.inputs.share_memory_(), self.labels.share_memory_()
        return replace(self, inputs=inputs, labels=labels)
