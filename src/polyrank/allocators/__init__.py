"""Allocators: from what is known of the clients, and limits, to a rank per client and module.

A chooser is ``f(evidence, limits, *, options) -> Choice``; ``static`` makes it an
``Allocator``. One's own is named ``"package.module:function"``. Nothing here needs torch.
"""

from collections.abc import Mapping
from typing import Any

from polyrank.allocators.choice import Choice, Chooser, Evidence
from polyrank.allocators.limits import Budget, Limits, ModuleRange
from polyrank.allocators.protocol import Allocator, static
from polyrank.allocators.reasons import explain, reasons, spread_note
from polyrank.registry import Table

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
    "make_allocator",
    "reasons",
    "spread_note",
    "static",
]

ALLOCATORS = Table(
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
)


def make_allocator(name: str, options: Mapping[str, Any]) -> Allocator:
    """Make the named allocator with its options; a one-shot chooser is wrapped.

    Raises:
        UnknownNameError: no such allocator.
        SettingsError: an option is unknown, missing or of the wrong type.
    """
    made: Any = ALLOCATORS.make(name, options)
    if not hasattr(made, "step"):
        made = static(made, options.get("refresh_every"))
    allocator: Allocator = made
    return allocator
