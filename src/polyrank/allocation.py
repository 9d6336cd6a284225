"""From settings and measured criteria to a plan: who owns which slots."""

from collections.abc import Mapping, Sequence

import numpy as np

from polyrank.adapter import prefix
from polyrank.allocators import (
    ALLOCATORS,
    Budget,
    Choice,
    Evidence,
    Limits,
    ModuleRange,
    make_allocator,
    reasons,
)
from polyrank.errors import SettingsError, nearest
from polyrank.federation import Plan
from polyrank.messages import Measured
from polyrank.peft_bridge import ModuleShape
from polyrank.settings import Settings


def module_ranges(settings: Settings, shapes: Mapping[str, ModuleShape]) -> dict[str, ModuleRange]:
    """Return each module's rank range; chosen ranks never exceed what the module can use.

    Ranks by hand are taken as given.
    """
    by_hand = getattr(ALLOCATORS.load(settings.allocator.kind), "by_hand", False)
    ranges = {}
    for name, shape in shapes.items():
        own = settings.ranks.modules.get(name)
        r_max = (own and own.r_max) or settings.ranks.r_max
        r_min = (own and own.r_min) or min(settings.ranks.r_min, r_max)
        if not by_hand:
            r_min, r_max = min(r_min, shape.full_rank), min(r_max, shape.full_rank)
        if r_min > r_max:
            raise SettingsError(f"ranks.modules.{name}: r_min {r_min} is larger than {r_max}")
        ranges[name] = ModuleRange(r_min, r_max, shape.slot_parameters)
    return ranges


def reads_criteria(settings: Settings) -> bool:
    """Whether the allocator needs the clients' criteria."""
    return bool(getattr(ALLOCATORS.load(settings.allocator.kind), "reads_criteria", False))


def choose_ranks(
    settings: Settings,
    clients: Sequence[str],
    shapes: Mapping[str, ModuleShape],
    measured: Sequence[Measured],
) -> Choice:
    """Let the allocator choose every client's ranks.

    Args:
        settings: ranges, budget, caps and allocator.
        clients: in the order of the federation.
        shapes: the adapted modules.
        measured: the criteria of every client, or nothing if they are not read.
    """
    values = {m.id.client: m.criteria for m in measured}
    names = settings.criteria if measured else []
    criteria = {name: np.array([values[c][name] for c in clients]) for name in names}
    limits = Limits(
        modules=module_ranges(settings, shapes),
        budget=_budget(settings),
        caps=_caps(settings, clients),
    )
    allocator = make_allocator(settings.allocator.kind, settings.allocator.options)
    choice, _ = allocator.step(None, Evidence(clients, criteria, 0, settings.seed), limits)
    return choice


def plan_of(choice: Choice) -> Plan:
    """Turn ranks into slots: each client owns the first r_k of a module."""
    return {
        client: {module: prefix(int(ranks[k])) for module, ranks in choice.ranks.items()}
        for k, client in enumerate(choice.clients)
    }


def profiles(choice: Choice, measured: Sequence[Measured]) -> dict[str, dict[str, object]]:
    """Return what is told of each client's ranks: criteria, score, ranks and why."""
    values = {m.id.client: dict(m.criteria) for m in measured}
    why = list(reasons(choice))
    told: dict[str, dict[str, object]] = {}
    for k, client in enumerate(choice.clients):
        parts = None
        if choice.contributions is not None:
            parts = dict(
                zip(choice.criterion_weights, choice.contributions[k].tolist(), strict=True)
            )
        told[client] = {
            "criteria": values.get(client, {}),
            "score": None if choice.scores is None else float(choice.scores[k]),
            "contributions": parts,
            "ranks": {module: int(ranks[k]) for module, ranks in choice.ranks.items()},
            "reason": why[k],
        }
    return told


def _budget(settings: Settings) -> Budget | None:
    given = settings.ranks.budget
    if given is None:
        return None
    if given.mean_rank is not None:
        return Budget("mean_rank", given.mean_rank)
    if given.parameters is not None:
        return Budget("parameters", given.parameters)
    return Budget("bytes", float(given.bytes or 0))


def _caps(settings: Settings, clients: Sequence[str]) -> np.ndarray | None:
    caps = settings.ranks.caps
    for client in caps:
        if client not in clients:
            raise SettingsError(
                f"ranks.caps: there is no client {client!r}{nearest(client, clients)}; "
                f"the clients are {', '.join(list(clients)[:20])}"
            )
    if not caps:
        return None
    return np.array([caps.get(client, np.iinfo(np.int32).max) for client in clients])
