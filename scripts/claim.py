"""A claim, where it was tried, and what seeds say of it there.

A difference is taken seed by seed, with Student's 90 % interval. Where the interval lies above 0
the claim holds there, where it lies below 0 the opposite does. A claim that something costs at most
so many points holds where the interval lies above minus that.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import verdict_table

SIGNS = {1: "yes", 0: "open", -1: "no"}


@dataclass(frozen=True)
class Place:
    """Where a claim was tried.

    Args:
        name: of the federation.
        better: by how much what is claimed is better, seed by seed.
    """

    name: str
    better: Sequence[float]

    @property
    def mean(self) -> float:
        """The mean over seeds."""
        return verdict_table.sure(self.better).mean

    @property
    def ends(self) -> tuple[float, float]:
        """The ends of its interval."""
        found = verdict_table.sure(self.better)
        assert found.low is not None
        assert found.high is not None
        return found.low, found.high

    @property
    def told(self) -> str:
        """The mean and its interval, as they are written."""
        return verdict_table.between(verdict_table.sure(self.better))

    def sign(self, cost: float) -> int:
        """Return 1 where the claim holds, -1 where the opposite does, 0 where seeds do not tell."""
        low, high = self.ends
        return int(low > -cost) - int(high < -cost)


@dataclass(frozen=True)
class Claim:
    """A claim, and where it was tried.

    Args:
        says: the claim.
        whose: paper or project.
        places: where it was tried.
        cost: points that the claim allows to be lost.
    """

    says: str
    whose: str
    places: Sequence[Place]
    cost: float = 0.0

    @property
    def signs(self) -> list[int]:
        """What each place says."""
        return [place.sign(self.cost) for place in self.places]

    @property
    def verdict(self) -> str:
        """Say whether it holds: everywhere, at some places, or nowhere."""
        signs = self.signs
        held = signs.count(1)
        if held == len(signs):
            return "holds"
        if held:
            return f"holds at {held} of {len(signs)}"
        return "does not hold" if -1 in signs else "not shown"

    @property
    def row(self) -> tuple[str, ...]:
        """Its row in the table of all claims."""
        means = [place.mean for place in self.places]
        ends = dict.fromkeys(f"{value:+.1f}" for value in (min(means), max(means)))
        counts = ", ".join(str(self.signs.count(sign)) for sign in SIGNS)
        says = f"{self.says} ({self.whose})"
        return says, f"**{self.verdict}**", " to ".join(ends), counts

    @property
    def place_rows(self) -> list[tuple[str, ...]]:
        """A row for each place."""
        signs = zip(self.places, self.signs, strict=True)
        return [
            (self.says, place.name, str(len(place.better)), place.told, SIGNS[sign])
            for place, sign in signs
        ]
