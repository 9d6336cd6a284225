"""Allocators: from what is known of the clients, and limits, to a rank per client and module.

A chooser is ``f(evidence, limits, *, options) -> Choice``; ``static`` makes it an
``Allocator``. What it needs of a run is its ``Needs``. One's own is named
``"package.module:function"``. Nothing here needs torch.
"""

from typing import Any

from polyrank.allocators.by_slot import choose_slots
from polyrank.allocators.choice import Choice, Chooser, Evidence
from polyrank.allocators.limits import Budget, Limits, ModuleRange
from polyrank.allocators.needs import Needs, needs_of
from polyrank.allocators.observing import Observer, Watch, WatchingObserver
from polyrank.allocators.protocol import Allocator, Static, static
from polyrank.allocators.reasons import explain, reasons, spread_note
from polyrank.errors import SettingsError
from polyrank.registry import Found, Registry

__all__ = [
    "ALLOCATORS",
    "Allocator",
    "Budget",
    "Choice",
    "Chooser",
    "Evidence",
    "Limits",
    "ModuleRange",
    "Needs",
    "Observer",
    "Watch",
    "WatchingObserver",
    "choose_slots",
    "explain",
    "reasons",
    "spread_note",
    "static",
]


def _made(found: Found) -> Allocator:
    """Make an allocator; a one-shot chooser is wrapped."""
    made: Any = found.bound()
    if not hasattr(made, "step"):
        return Static(made, needs_of(found.target))
    if not isinstance(getattr(made, "needs", None), Needs):
        raise SettingsError(f"{found.where}: expected a field needs of type Needs beside step")
    allocator: Allocator = made
    return allocator


ALLOCATORS: Registry[Allocator] = Registry(
    "allocator",
    {
        "autorank": "polyrank.allocators.autorank:autorank",
        "uniform": "polyrank.allocators.uniform:uniform",
        "level": "polyrank.allocators.level:Level",
        "random": "polyrank.allocators.random:random",
        "ratio": "polyrank.allocators.ratio:ratio",
        "capacity": "polyrank.allocators.capacity:capacity",
        "eva": "polyrank.allocators.eva:eva",
        "hetlora": "polyrank.allocators.hetlora:HetLora",
        "fedara": "polyrank.allocators.fedara:FedAra",
        "need": "polyrank.allocators.need:Need",
    },
    group="polyrank.allocators",
    make=_made,
)
