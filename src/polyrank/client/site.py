"""What belongs to one client alone: its rows, a secret, and what it agrees to tell."""

from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np

from polyrank.inputs.arrays import RowView

Telling: TypeAlias = Literal["examples", "label_counts"]
EVERYTHING: frozenset[Telling] = frozenset({"examples", "label_counts"})


@dataclass(frozen=True)
class Site:
    """One client's own side of a run.

    Args:
        train: its training rows.
        test: its own test rows.
        secret: seeds the noise on what it tells; whoever knows it can take the noise off.
        tells: what of its profile it agrees to send.
    """

    train: RowView
    test: RowView
    secret: int
    tells: frozenset[Telling] = EVERYTHING

    def noise(self) -> np.random.Generator:
        """Return the generator of its noise, started anew: it gives the same noise each time."""
        return np.random.default_rng(self.secret)
