"""What belongs to one client alone: its rows, a secret, and what it agrees to tell."""

from dataclasses import dataclass

import numpy as np

from polyrank.client.telling import EVERYTHING, Telling
from polyrank.inputs.arrays import RowView


@dataclass(frozen=True)
class Site:
    """One client's own side of a run.

    Args:
        train: its training rows.
        test: its own test rows.
        secret: seeds the noise on what it tells; whoever knows it can take the noise off.
        tells: what of its profile it agrees to send.
        cap: the largest rank that it trains in any module; None for any.
    """

    train: RowView
    test: RowView
    secret: int
    tells: frozenset[Telling] = EVERYTHING
    cap: int | None = None

    def noise(self) -> np.random.Generator:
        """Return the generator of its noise, started anew: it gives the same noise each time."""
        return np.random.default_rng(self.secret)
