"""Keep what a client is not sent: its own factors, and its version of the base."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import torch

from polyrank.aggregators.local_rule import LocalRule
from polyrank.disk.checkpoint import ClientStore
from polyrank.errors import TrainingError
from polyrank.lora.base_change import Patch, patched
from polyrank.lora.changes import Rejoin, moved
from polyrank.lora.factors import (
    Adapter,
    Factors,
    Tensors,
    is_prefix,
    revive_dead_slots,
    start_factors,
)
from polyrank.lora.shapes import Parametrisation
from polyrank.seeding import derive

Shapes = Mapping[str, tuple[int, int]]


@dataclass(frozen=True)
class Start:
    """The factors that every client can make by itself.

    Args:
        seed: the run's root seed.
        shapes: module -> (d_in, d_out).
        given: the adapter that the run began with, if it did not begin with new factors.
        parametrisation: the form of new factors.
    """

    seed: int
    shapes: Shapes
    given: Adapter | None = None
    parametrisation: Parametrisation = "lora"

    def factors(self, module: str, slots: torch.Tensor, round: int) -> Factors:
        """Return slots of a module as they were after ``round``, 0 for the first ones."""
        if self.given is not None and not round:
            return self.given[module].take(slots)
        many = int(slots[-1]) + 1
        form = self.parametrisation
        drawn = start_factors(self.shapes[module], many, self.seed, module, round, form)
        return drawn.take(slots)


class ClientState:
    """The factors and base versions that the clients of this process keep themselves.

    The change of the base is kept in memory for one version; clients at other versions have
    it in their store.

    Args:
        store: of all clients, or None where nothing is kept.
        start: the factors at the start of the run and of each round.
    """

    def __init__(self, store: ClientStore | None, start: Start) -> None:
        self.store = store
        self.start = start
        self._version = 0
        self._totals: Tensors = {}

    def completed(
        self, adapter: Adapter, rule: LocalRule, client: str, round: int, last: int | None
    ) -> dict[str, Factors]:
        """Return the adapter with every factor that was not sent.

        Args:
            adapter: as it came.
            rule: of the round; says where the missing factors are.
            client: whose they are.
            round: that is trained, from 1.
            last: the last finished round in which the client trained.
        """
        own: Adapter = {}
        if rule.absent == "own" and last is not None:
            own, _ = self.own(client, last)
        whole = {}
        for module, factors in adapter.items():
            if not factors.complete:
                drawn = round - 1 if rule.absent == "fresh" else 0
                other = self.start.factors(module, factors.slots, drawn)
                if module in own:
                    other = other.overlaid(own[module])
                factors = factors.completed(other)
            whole[module] = factors
        return whole

    def with_spare(
        self, adapter: Adapter, slots: Mapping[str, torch.Tensor], round: int
    ) -> dict[str, Factors]:
        """Return the adapter with every slot that is trained and was not sent, without effect.

        Args:
            adapter: as it came, with every factor.
            slots: module -> the slots to train, of each module the first ones where some lack.
            round: that is trained.

        Raises:
            TrainingError: slots lack, and are not the first ones.
        """
        found = dict(adapter)
        for module, factors in adapter.items():
            wanted = slots[module]
            lacking = wanted[~torch.isin(wanted, factors.slots)]
            if len(lacking) and not is_prefix(wanted):
                raise TrainingError(
                    f"module {module!r}: expected the first {len(wanted)} slots to train, "
                    f"got numbers up to {int(wanted[-1])}"
                )
            if len(lacking):
                found[module] = factors.with_slots(self.start.factors(module, lacking, round))
        return found

    def own(self, client: str, round: int) -> tuple[Adapter, Tensors]:
        """Return what a client's training left in a round: adapter and extras.

        Raises:
            TrainingError: nothing is kept.
        """
        if self.store is None:
            raise TrainingError("this run keeps no personal adapters")
        return self.store.load(client, round)

    def owed(self, client: str, last: int | None) -> Adapter:
        """Return what a client had not sent of its changes after its last round.

        Raises:
            TrainingError: nothing is kept.
        """
        return self._kept(client, last, "owed") if last is not None else {}

    def caught_up(
        self,
        adapter: Adapter,
        steps: Mapping[str, int],
        client: str,
        last: int | None,
        rejoin: Rejoin,
    ) -> Adapter:
        """Return factors in place of the steps that were sent for some modules.

        Args:
            adapter: as it came.
            steps: modules whose factors are a step from what the client was sent last, and how many
                slots they then have.
            client: whose they are.
            last: the last finished round in which it trained.
            rejoin: of the aggregator.

        Raises:
            TrainingError: the client has nothing from which to take the step.
        """
        if not steps:
            return adapter
        held = self._kept(client, last, "held")
        found = dict(adapter)
        for module, slots in steps.items():
            if module not in held:
                raise TrainingError(f"module {module!r}: a step was sent, and nothing is held")
            stepped = moved(held[module], adapter[module], slots, rejoin)
            generator = torch.Generator().manual_seed(
                derive(self.start.seed, "revive", f"{client} {last}", module)
            )
            found[module] = revive_dead_slots(stepped, generator)
        return found

    def _kept(self, client: str, last: int | None, what: Literal["owed", "held"]) -> Adapter:
        if self.store is None or last is None:
            raise TrainingError("this run keeps nothing of what clients have sent and were sent")
        return self.store.load_kept(client, last, what)

    def base(self, patch: Patch | None, *, keep: bool = False) -> Tensors:
        """Return what is added to the base once a client has the patch.

        Args:
            patch: None while the base has not changed.
            keep: whether a client goes on from there.
        """
        if patch is None:
            return {}
        if patch.version != self._version:
            builds_on_own = patch.steps or patch.since == patch.version
            if builds_on_own and not patch.since <= self._version < patch.version:
                self.own_base(patch.since)
            self._totals = patched(self._totals, patch, self._version)
            self._version = patch.version
        if keep and self.store:
            self.store.save_base(patch.version, self._totals)
        return self._totals

    def own_base(self, version: int) -> Tensors:
        """Return what had been added to the base at a version that a client has."""
        if version != self._version:
            held = self.store.load_base(version) if self.store and version else {}
            self._version, self._totals = version, held
        return self._totals
