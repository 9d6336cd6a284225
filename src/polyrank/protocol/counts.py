"""How well a model answered: counts that add up over rows and clients."""

from dataclasses import dataclass
from typing import TypeAlias

from torch import Tensor


@dataclass(frozen=True)
class Confusion:
    """How often rows of each label were answered with each label.

    Args:
        counts: (classes, classes) int64, rows by true label, columns by answer.
    """

    counts: Tensor

    def __add__(self, other: "Confusion") -> "Confusion":
        return Confusion(self.counts + other.counts)

    @property
    def correct(self) -> "Correct":
        """The same without telling the labels apart."""
        return Correct(int(self.counts.diag().sum()), int(self.counts.sum()))


@dataclass(frozen=True)
class Correct:
    """How many rows were answered rightly, and how many there are."""

    right: int
    all: int

    def __add__(self, other: "Correct") -> "Correct":
        return Correct(self.right + other.right, self.all + other.all)


@dataclass(frozen=True)
class CorrectTokens:
    """How many tokens a language model predicted rightly, and how many there are."""

    right: int
    all: int

    def __add__(self, other: "CorrectTokens") -> "CorrectTokens":
        return CorrectTokens(self.right + other.right, self.all + other.all)


Counts: TypeAlias = Confusion | Correct | CorrectTokens
