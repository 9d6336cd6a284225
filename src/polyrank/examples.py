"""Examples as tensors, kept once for all clients and cut into batches by row number."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from polyrank.errors import DataError


@dataclass(frozen=True)
class Examples:
    """Inputs and labels of one part of a data set.

    Args:
        inputs: (n, ...) float32, or uint8 that stands for 0..1; images are (n, c, h, w).
        labels: (n,) int64.
    """

    inputs: Tensor
    labels: Tensor

    @classmethod
    def from_arrays(cls, inputs: np.ndarray, labels: np.ndarray) -> "Examples":
        """Take arrays as data sets give them: images (n, h, w) or (n, h, w, c).

        Raises:
            DataError: the inputs are not numbers.
        """
        if inputs.dtype.kind not in "fiub":
            raise DataError(
                f"the inputs are texts ({inputs.dtype}): this model takes arrays of numbers"
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
        return inputs, self.labels[rows]

    def share_memory(self) -> "Examples":
        """Move the tensors to memory that other processes can map."""
        return Examples(self.inputs.share_memory_(), self.labels.share_memory_())
