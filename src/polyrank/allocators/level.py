"""One rank for all at what another allocator's ranks cost: the control that it must beat.

Ours. The other allocator chooses first, from the same evidence, so that clients measure the same
for both; what its ranks cost becomes the budget of ``uniform``. The unit is that of the run's
own budget, so that this one is kept too, and without one parameters.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from polyrank.allocators import ALLOCATORS
from polyrank.allocators.choice import Choice, Evidence
from polyrank.allocators.limits import Budget, Limits, ModuleRange
from polyrank.allocators.needs import Needs
from polyrank.allocators.protocol import Allocator
from polyrank.allocators.uniform import uniform
from polyrank.errors import SettingsError
from polyrank.registry import Named


@dataclass(frozen=True)
class Level:
    """Give every client the same rank, together at the cost of another allocator's first ranks.

    Less than one slot is left unspent. What the other allocator would change later, for what it
    then observes, counts for nothing: it would come of training with its own ranks.

    Args:
        of: the other allocator, by its name in the table.
        of_options: its options.

    Raises:
        SettingsError: impossible options of the other, or ``level`` of ``level``.
        UnknownNameError: no allocator ``of``.
    """

    of: str = "autorank"
    of_options: Mapping[str, Any] | None = None

    needs: Needs = field(init=False, repr=False)
    _other: Allocator = field(init=False, repr=False)

    def __post_init__(self) -> None:
        if self.of == "level":
            raise SettingsError("level: of: expected another allocator, got 'level'")
        other = ALLOCATORS.build(Named(self.of, self.of_options or {}))
        object.__setattr__(self, "_other", other)
        asked_once = replace(other.needs, slots=False, observes=None, prunes=None)
        object.__setattr__(self, "needs", asked_once)

    def step(self, state: None, evidence: Evidence, limits: Limits) -> tuple[Choice, None]:
        """Choose afresh; there is no state.

        Raises:
            PolyRankError: what the other allocator raises.
        """
        first, _ = self._other.step(None, evidence, limits)
        same = replace(limits, modules=_ranges(first, limits), budget=_spent(first, limits))
        choice = uniform(evidence, same)
        basis = f"the same rank for all at what {self.of} spends, spare slots by lot"
        return replace(choice, basis=basis), state


def _ranges(choice: Choice, limits: Limits) -> dict[str, ModuleRange]:
    """Let r_min down to the ranks that are below it, as ranks by hand may be."""
    lower, _ = limits.bounds(choice.clients)
    ranges = {}
    for least, (name, given) in zip(lower, limits.modules.items(), strict=True):
        below = choice.ranks[name][choice.ranks[name] < least]
        ranges[name] = replace(given, r_min=int(below.min())) if len(below) else given
    return ranges


def _spent(choice: Choice, limits: Limits) -> Budget:
    """Return the budget that these ranks use up."""
    unit = limits.budget or Budget("parameters", 1)
    cost = sum(int(choice.ranks[n].sum()) * unit.price(m) for n, m in limits.modules.items())
    if unit.kind == "mean_rank":  # half a slot more, or the quotient's rounding may lose one
        return replace(unit, amount=(cost + 0.5) / (len(choice.clients) * len(limits.modules)))
    return replace(unit, amount=cost)
