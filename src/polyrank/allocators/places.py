"""All slots of all modules in one row, for allocators that compare slots over modules."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from polyrank.allocators.choice import Floats
from polyrank.allocators.limits import Limits, Ranks

Mask: TypeAlias = NDArray[np.bool_]


@dataclass(frozen=True)
class Places:
    """All slots of all modules in one row of S.

    Args:
        modules: by name, where its slots begin, and how many it has.
        count: S.
    """

    modules: Mapping[str, tuple[int, int]]
    count: int

    @classmethod
    def of(cls, limits: Limits) -> "Places":
        """Lay out the slots of every module, in the order of the modules."""
        starts = np.cumsum([0, *(module.r_max for module in limits.modules.values())]).tolist()
        sizes = [module.r_max for module in limits.modules.values()]
        modules = dict(zip(limits.modules, zip(starts[:-1], sizes, strict=True), strict=True))
        return cls(modules, starts[-1])

    def mask(self, slots: Mapping[str, Sequence[int]]) -> Mask:
        """Mark some slots of every module (S,)."""
        marks = np.zeros(self.count, bool)
        for module, own in slots.items():
            marks[self.modules[module][0] + np.array(own, np.int64)] = True
        return marks

    def slots(self, mask: Mask) -> dict[str, list[int]]:
        """Return the numbers of the marked slots of each module."""
        return {
            m: np.flatnonzero(mask[at : at + n]).tolist() for m, (at, n) in self.modules.items()
        }

    def scores(self, scores: Mapping[str, Floats], slots: Mapping[str, Ranks]) -> Floats:
        """Put a client's scores in their places (S,); minus infinity where it has no slot."""
        row = np.full(self.count, -np.inf)
        for module, own in scores.items():
            row[self.modules[module][0] + slots[module]] = own
        return row

    def capped(
        self,
        mask: Mask,
        order: Ranks,
        clients: Sequence[str],
        most: Mapping[str, Sequence[int]],
    ) -> dict[str, Mask]:
        """Keep of each module as many slots as each client can hold, the first in ``order`` (S,).

        Args:
            mask: (S,) to choose from.
            order: places, the best first.
            clients: n of them.
            most: module -> (n,) how many slots each client can hold.

        Returns:
            client -> (S,).
        """
        masks = {client: np.zeros(self.count, bool) for client in clients}
        for module, (at, size) in self.modules.items():
            own = order[(order >= at) & (order < at + size)]
            own = own[mask[own]]
            for client, cap in zip(clients, most[module], strict=True):
                masks[client][own[:cap]] = True
        return masks
