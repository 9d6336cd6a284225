"""From settings and measured criteria to a plan: who owns which slots."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from polyrank.allocators import (
    ALLOCATORS,
    Budget,
    Choice,
    Evidence,
    Limits,
    reasons,
)
from polyrank.allocators.by_slot import check_slots
from polyrank.errors import SettingsError, nearest
from polyrank.lora.factors import Adapter, prefix, start_factors
from polyrank.lora.shapes import ModuleShape
from polyrank.plain import one_line
from polyrank.protocol.messages import NOTHING, Measured, Wanted
from polyrank.server.state import Observed, Plan, Sent
from polyrank.settings.ranges import cut_of, module_ranges, unusable_ranks
from polyrank.settings.schema import Settings

UNCAPPED = np.iinfo(np.int32).max
UNMEASURED = "could not be measured: the least rank"


class RankChooser:
    """The allocator of a run with its limits.

    Args:
        settings: ranges, budget, caps and allocator.
        clients: in the order of the federation.
        shapes: the adapted modules.
    """

    def __init__(
        self, settings: Settings, clients: Sequence[str], shapes: Mapping[str, ModuleShape]
    ) -> None:
        self.settings, self.clients = settings, clients
        self.allocator = ALLOCATORS.build(settings.allocator)
        ranges = module_ranges(settings, shapes)
        self.cut = cut_of(settings, shapes)
        self.limits = Limits(ranges, _budget(settings), _caps(settings, clients))
        beyond = self.limits.beyond(clients)
        self.notes = unusable_ranks(settings, ranges) + ([beyond] if beyond else [])
        self.smallest = {name: given.r_min for name, given in ranges.items()}
        self.needs = self.allocator.needs
        self.wanted = Wanted(
            tuple(settings.criteria) if self.needs.criteria else (),
            max(given.r_max for given in ranges.values()) if self.needs.spectra else 0,
        )

    def wanted_at(self, round: int) -> Wanted:
        """Return what clients measure for the choice after a round."""
        return NOTHING if round and self.needs.once else self.wanted

    def wanted_cuts(self, slots: int, round: int) -> Sequence[int]:
        """Return to which numbers of slots the global model is cut and judged after a round."""
        cuts = self.needs.cuts
        return cuts(slots, round, self.settings.rounds) if cuts else ()

    @property
    def judges_cuts(self) -> bool:
        """Whether it is cut and judged after any round of the run."""
        return any(self.wanted_cuts(1, round) for round in range(self.settings.rounds))

    def hold_to(self, caps: Mapping[str, int]) -> None:
        """Never choose more for a client than it says that it trains."""
        own = np.array([caps.get(client, UNCAPPED) for client in self.clients])
        held = self.limits.caps
        if caps:
            lowest = own if held is None else np.minimum(held, own)
            self.limits = replace(self.limits, caps=lowest)

    def cap_of(self, client: str) -> int | None:
        """Return the largest rank that a client may get, None where nothing limits it."""
        caps = self.limits.caps
        cap = UNCAPPED if caps is None else int(caps[list(self.clients).index(client)])
        return None if cap == UNCAPPED else cap

    def due(self, round: int) -> bool:
        """Whether ranks are chosen again after a round, before the next one."""
        every = self.settings.ranks.refresh_every or (1 if self.needs.every_round else 0)
        return every > 0 and round > 0 and round % every == 0

    def choose(
        self,
        state: Any,  # noqa: ANN401 - the allocator's own
        measured: Sequence[Measured],
        round: int,
        observed: Observed | None = None,
        sent: Sent | None = None,
        cuts: Mapping[int, float] | None = None,
    ) -> tuple[Choice, Any]:
        """Let the allocator choose every client's ranks.

        One that could not be measured is scored as the median client, and gets the least rank.

        Args:
            state: the allocator's, None at the start.
            measured: what every client has measured, or nothing if nothing was wanted.
            round: rounds finished.
            observed: what the allocator's observer gave in the last one.
            sent: how many slots clients sent in the last one, where they may give some up.
            cuts: losses of the cut global model.

        Raises:
            SettingsError: slots are chosen that are not there, or by an allocator that has not
                said that it needs them.
        """
        values = {m.id.client: m.criteria for m in measured}
        names = self.wanted.criteria if measured else ()
        middle = {n: float(np.median([own[n] for own in values.values()])) for n in names}
        unknown = dict.fromkeys(self.limits.modules, ())
        evidence = Evidence(
            self.clients,
            {n: np.array([values.get(c, middle)[n] for c in self.clients]) for n in names},
            round,
            self.settings.seed,
            self.settings.rounds,
            self.settings.cohort(len(self.clients)) / len(self.clients),
            spectra={
                **{client: unknown for client in self.clients if measured},
                **{m.id.client: m.spectra for m in measured},
            },
            observed=_arrays(observed, 1, np.float64),
            slots=_arrays(observed, 0, np.int64),
            sent=sent or {},
            cuts=cuts or {},
        )
        missing = np.array([bool(measured) and c not in values for c in self.clients])
        choice, state = self.allocator.step(state, evidence, self._held_down(missing))
        if choice.slots is not None and not self.needs.slots:
            raise SettingsError(
                f"allocator {self.settings.allocator.kind!r} chooses slots by their numbers: "
                "expected Needs(slots=True), got False"
            )
        check_slots(choice, self.limits)
        return choice, state

    def _held_down(self, clients: NDArray[np.bool_]) -> Limits:
        """Return the limits with some clients (n,) held to the least rank."""
        if not clients.any():
            return self.limits
        least = max(self.smallest.values())
        caps = self.limits.caps
        if caps is None:
            caps = np.full(len(clients), UNCAPPED)
        return replace(self.limits, caps=np.where(clients, np.minimum(caps, least), caps))


def check_equal(aggregator: str, choice: Choice) -> None:
    """Check that all clients have the same slots, as the aggregator needs it.

    Raises:
        SettingsError: they do not.
    """
    for module, ranks in choice.ranks.items():
        if len(set(ranks.tolist())) > 1:
            raise SettingsError(
                f"aggregator {aggregator!r} needs the same rank for all clients, and module "
                f"{module!r} has ranks {min(ranks)} to {max(ranks)}; choose allocator 'uniform' "
                f"with a rank, or another aggregator"
            )
        own = {tuple(of[module].tolist()) for of in (choice.slots or {}).values()}
        if len(own) > 1:
            raise SettingsError(
                f"aggregator {aggregator!r} needs the same slots for all clients, and in module "
                f"{module!r} they differ; choose another aggregator or allocator"
            )


def plan_of(choice: Choice) -> Plan:
    """Turn a choice into slots: those that it names, else the first r_k of each module."""
    if choice.slots is not None:
        return {
            client: {module: torch.from_numpy(own) for module, own in of.items()}
            for client, of in choice.slots.items()
        }
    return {
        client: {module: prefix(int(ranks[k])) for module, ranks in choice.ranks.items()}
        for k, client in enumerate(choice.clients)
    }


def errors_of(choice: Choice) -> dict[str, float]:
    """Return the share of its change that each client need not send, where changes are sent."""
    if choice.errors is None:
        return {}
    return dict(zip(choice.clients, choice.errors.tolist(), strict=True))


def with_slots(adapter: Adapter, choice: Choice, seed: int, round: int) -> Adapter:
    """Return the server's adapter with as many slots as any client has, new ones without effect.

    Args:
        adapter: after ``round``.
        choice: the new ranks.
        seed: the run's root seed.
        round: rounds finished.
    """
    found = dict(adapter)
    for module, ranks in choice.ranks.items():
        held, most = adapter[module], int(ranks.max())
        if most < held.rank:
            if not round and held.b[:, most:].any():
                raise SettingsError(
                    f"init_adapter: module {module!r} has slots beyond the {most} that the "
                    "allocator starts with: expected start to be as large as its rank"
                )
            found[module] = held.take(prefix(most))
        elif most > held.rank:
            shape = held.a.shape[1], len(held.b)
            fresh = start_factors(shape, most, seed, module, round).take(prefix(most)[held.rank :])
            found[module] = held.with_slots(fresh)
    return found


def without_gone(adapter: Adapter, choice: Choice) -> Adapter:
    """Return the server's adapter with the slots that are given up for good without effect."""
    found = dict(adapter)
    for module, gone in choice.gone.items():
        b = found[module].b.clone()
        b[:, torch.from_numpy(gone)] = 0
        found[module] = replace(found[module], b=b)
    return found


def profiles(choice: Choice, measured: Sequence[Measured]) -> dict[str, dict[str, Any]]:
    """Return what is told of each client's ranks: criteria, score, ranks and why."""
    values = {m.id.client: dict(m.criteria) for m in measured}
    why = list(reasons(choice))
    told: dict[str, dict[str, Any]] = {}
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
            "reason": why[k] if not measured or client in values else UNMEASURED,
        }
        if choice.slots is not None:
            told[client]["slots"] = {m: own.tolist() for m, own in choice.slots[client].items()}
    return told


def _arrays(
    observed: Observed | None, place: int, dtype: type[np.generic]
) -> dict[str, dict[str, Any]]:
    """Return what was observed as arrays (r,), or the numbers of the slots at place 0."""
    return {
        client: {module: np.array(of[place], dtype) for module, of in modules.items()}
        for client, modules in (observed or {}).items()
    }


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
                f"the clients are {', '.join(map(one_line, clients[:20]))}"
            )
    if not caps:
        return None
    return np.array([caps.get(client, UNCAPPED) for client in clients])
