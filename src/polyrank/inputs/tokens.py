"""Texts as token numbers, kept flat for all clients and padded batch by batch."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from polyrank.inputs.losses import NO_TARGET

EVALUATION_TOKENS = 4096


@dataclass(frozen=True)
class TokenExamples:
    """Tokenised texts of one part of a data set, with one label each.

    Args:
        ids: (t,) int32, the tokens of all texts one after the other.
        offsets: (n + 1,) int64; text i is ``ids[offsets[i]:offsets[i + 1]]``.
        labels: (n,) int64.
        pad: the token that fills a batch up.
        starts: (n,) int64, tokens at the beginning of each text that are not to be predicted;
            None for classification.
    """

    ids: Tensor
    offsets: Tensor
    labels: Tensor
    pad: int
    starts: Tensor | None = None

    @classmethod
    def from_lists(
        cls,
        texts: Sequence[Sequence[int]],
        labels: np.ndarray,
        pad: int,
        starts: Sequence[int] | None = None,
    ) -> "TokenExamples":
        """Take token numbers text by text."""
        lengths = torch.tensor([0, *map(len, texts)], dtype=torch.int64)
        flat = np.concatenate([np.asarray(t, dtype=np.int32) for t in texts] or [_NOTHING])
        return cls(
            torch.from_numpy(flat),
            lengths.cumsum(0),
            torch.from_numpy(labels.astype(np.int64, copy=False)),
            pad,
            None if starts is None else torch.tensor(starts, dtype=torch.int64),
        )

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def input_shape(self) -> tuple[int, ...]:
        """Shape of one example: none, a text has no size of its own."""
        return ()

    @property
    def lengths(self) -> Tensor:
        """Tokens in each text, (n,)."""
        return self.offsets.diff()

    def batch(self, rows: Tensor) -> tuple[dict[str, Tensor], Tensor]:
        """Return the model's arguments, padded to the longest text, and what it should say.

        Returns:
            ``input_ids`` and ``attention_mask``, (len(rows), longest) int64; and labels
            (len(rows),), or with ``starts`` each place's own token (len(rows), longest), with
            -100 where nothing is to be predicted.
        """
        texts = [self.ids[self.offsets[i] : self.offsets[i + 1]].long() for i in rows.tolist()]
        filled = pad_sequence(texts, batch_first=True, padding_value=self.pad)
        place = torch.arange(filled.shape[1])
        mask = place < self.lengths[rows][:, None]
        inputs = {"input_ids": filled, "attention_mask": mask.long()}
        if self.starts is None:
            return inputs, self.labels[rows]
        wanted = mask & (place >= self.starts[rows][:, None])
        return inputs, filled.masked_fill(~wanted, NO_TARGET)

    def parts(self, rows: Tensor, least: int, call_cost: float) -> Sequence[Tensor]:
        """Cut a training batch into parts of like lengths, so that less is padded.

        Returns:
            the parts with the fewest tokens, padding and calls included, longest texts first.
        """
        ordered = self._longest_first(rows)
        most = -(-len(rows) // least)
        parts: Sequence[Tensor] = ordered.split(
            _sizes(self.lengths[ordered].numpy(), most, call_cost)
        )
        return parts

    def blocks(self, rows: Tensor) -> Iterator[Tensor]:
        """Cut rows into blocks of like lengths and at most 4,096 tokens with their padding."""
        ordered = self._longest_first(rows)
        start = 0
        while start < len(ordered):
            longest = max(1, int(self.lengths[ordered[start]]))
            stop = start + max(1, EVALUATION_TOKENS // longest)
            yield ordered[start:stop]
            start = stop

    def _longest_first(self, rows: Tensor) -> Tensor:
        return rows[torch.argsort(self.lengths[rows], descending=True, stable=True)]

    def token_counts(self, rows: Tensor) -> Tensor:
        """Count each token of some texts, (largest token + 1,)."""
        parts = [self.ids[self.offsets[i] : self.offsets[i + 1]] for i in rows.tolist()]
        return torch.bincount(torch.cat(parts))

    def share_memory(self) -> "TokenExamples":
        """Move the tensors to memory that other processes can map."""
        return TokenExamples(
            self.ids.share_memory_(),
            self.offsets.share_memory_(),
            self.labels.share_memory_(),
            self.pad,
            None if self.starts is None else self.starts.share_memory_(),
        )


def _sizes(lengths: np.ndarray, most: int, call_cost: float) -> list[int]:
    """Return how many texts go into each part, from their falling lengths (n,).

    Each part costs ``call_cost`` and its texts at the length of its first; the least sum is
    found by going through the best last part of the first 1, 2, ... n texts.
    """
    least, begins = np.zeros(len(lengths) + 1), np.zeros(len(lengths) + 1, dtype=np.int64)
    for end in range(1, len(lengths) + 1):
        first = np.arange(max(0, end - most), end)
        costs = least[first] + (end - first) * lengths[first] + call_cost
        begins[end] = first[np.argmin(costs)]
        least[end] = costs.min()
    sizes: list[int] = []
    end = len(lengths)
    while end:
        sizes.insert(0, int(end - begins[end]))
        end = begins[end]
    return sizes


_NOTHING = np.empty(0, dtype=np.int32)
