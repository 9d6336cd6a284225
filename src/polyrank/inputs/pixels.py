"""Images as pre-trained models take them: resized and normalised batch by batch."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from polyrank.errors import DataError
from polyrank.inputs.arrays import Examples

EVALUATION_BATCH = 64


@dataclass(frozen=True)
class PixelExamples:
    """Images of one part of a data set, stored at their original size.

    Args:
        images: uint8 or float images of ``Examples``, one or three channels.
        size: (height, width) of what the model takes.
        mean: of each channel, taken off after scaling to 0..1.
        std: of each channel.
    """

    images: Examples
    size: tuple[int, int]
    mean: tuple[float, ...]
    std: tuple[float, ...]

    def __post_init__(self) -> None:
        shape = self.images.input_shape
        if len(shape) != 3 or shape[0] not in (1, 3):
            raise DataError(f"this model takes images of 1 or 3 channels, got inputs of {shape}")

    def __len__(self) -> int:
        return len(self.images)

    @property
    def labels(self) -> Tensor:
        """(n,) int64."""
        return self.images.labels

    @property
    def input_shape(self) -> tuple[int, ...]:
        """Shape of one image as it is stored: (channels, height, width)."""
        return self.images.input_shape

    def batch(self, rows: Tensor) -> tuple[dict[str, Tensor], Tensor]:
        """Return ``pixel_values`` (len(rows), 3, height, width) and labels (len(rows),)."""
        pixels, labels = self.images.batch(rows)
        if tuple(pixels.shape[2:]) != self.size:
            pixels = functional.interpolate(
                pixels, self.size, mode="bilinear", antialias=True, align_corners=False
            )
        # a grey image becomes three equal channels before they are normalised one by one
        mean, std = (torch.tensor(v).view(1, -1, 1, 1) for v in (self.mean, self.std))
        return {"pixel_values": (pixels - mean) / std}, labels

    def parts(self, rows: Tensor, least: int, call_cost: float) -> Sequence[Tensor]:
        """Cut a training batch into ``least`` parts."""
        return rows.chunk(least)

    def blocks(self, rows: Tensor) -> Iterator[Tensor]:
        """Cut rows into blocks that are evaluated at once."""
        yield from rows.split(EVALUATION_BATCH)

    def token_counts(self, rows: Tensor) -> None:
        """Return nothing: these are no texts."""

    def share_memory(self) -> "PixelExamples":
        """Move the images to memory that other processes can map."""
        return PixelExamples(self.images.share_memory(), self.size, self.mean, self.std)
