"""Allocators: from what is known of the clients, and limits, to a rank per client and module.

A chooser is ``f(evidence, limits, *, options) -> Choice``; ``static`` makes it an
``Allocator``. One's own is named ``"package.module:function"``. Nothing here needs torch.
"""

from typing import Any

from polyrank.allocators.choice import Choice, Chooser, Evidence
from polyrank.allocators.limits import Budget, Limits, ModuleRange
from polyrank.allocators.protocol import Allocator, static
from polyrank.allocators.reasons import explain, reasons, spread_note
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
    "explain",
    "reasons",
    "spread_note",
    "static",
]


def _made(found: Found) -> Allocator:
    """Make an allocator; a one-shot chooser is wrapped."""
    made: Any = found.bound()
    if not hasattr(made, "step"):
        made = static(made, found.options.get("refresh_every"))
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
    },
    group="polyrank.allocators",
    make=_made,
)
