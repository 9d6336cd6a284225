"""Ranks that are found while training: slots that matter little are given up, round by round.

Wu, Hu, Min, Wang, "Adaptive Rank Allocation for Federated Parameter-Efficient Fine-Tuning of
Language Models" (FedARA), 2025, https://arxiv.org/abs/2501.14406

A reconstruction: neither code nor all of the paper could be read. From accounts of it: clients
mark their most important slots over all modules, the server keeps those with enough marks, masks
only shrink, and the number of slots falls as a cubic from all of them to the last budget, with
rounds before and after in which it rests. The cubic is that of AdaLoRA (Zhang et al., 2023,
https://arxiv.org/abs/2303.10512).

Ours: the number of slots is a share of those at the start, which a budget limits; what a slot is
worth is an option; marks are counted without weights; a client's cap holds in every module. And
``of``: another allocator says how many slots each client may have in the end, and each client
keeps its own, so that clients own different slots of a module.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal, TypeAlias

import numpy as np

from polyrank.allocators import ALLOCATORS
from polyrank.allocators.by_slot import choose_slots
from polyrank.allocators.choice import Choice, Evidence, Floats
from polyrank.allocators.limits import Limits
from polyrank.allocators.needs import NOTHING, Needs
from polyrank.allocators.observing import Observer
from polyrank.allocators.places import Mask, Places
from polyrank.allocators.protocol import Allocator
from polyrank.allocators.slot_scores import slot_change, slot_magnitude, slot_sensitivity
from polyrank.allocators.uniform import uniform
from polyrank.errors import SettingsError
from polyrank.registry import Named

Score: TypeAlias = Literal["change", "magnitude", "sensitivity"]
Arbiter: TypeAlias = Literal["top", "threshold"]

SCORES: Mapping[Score, Observer] = {
    "change": slot_change,
    "magnitude": slot_magnitude,
    "sensitivity": slot_sensitivity,
}


def slots_left(round: int, rounds: int, first: int, last: int, warmup: int, rest: int) -> int:
    """Return how many slots there may be after a round: all, then a cubic down, then the last.

    ``last + (first - last) (1 - (t - warmup) / (rounds - rest - warmup))³`` between the warm-up and
    the last rounds, rounded; with three rounds of it from 100 to 20: 44, 23, 20.

    Args:
        round: rounds finished, t.
        rounds: of the run.
        first: slots at the start.
        last: slots at the end.
        warmup: rounds with all slots.
        rest: rounds at the end with the last number.

    Example:
        >>> [slots_left(t, 6, 100, 20, warmup=1, rest=2) for t in range(6)]
        [100, 100, 44, 23, 20, 20]
    """
    if round <= warmup:
        return first
    if round >= rounds - rest:
        return last
    gone = (round - warmup) / (rounds - rest - warmup)
    return last + int(np.rint((first - last) * (1 - gone) ** 3))


@dataclass(frozen=True)
class FedAra:
    """Start with all slots, and keep those that training needs: fewer every round.

    Args:
        final: share of the slots that is left at the end; without ``of``.
        warmup: rounds before any slot is given up.
        rest: rounds at the end in which none is.
        score: what a slot is worth to a client: ``change``, how far training moved it;
            ``magnitude``, how large it is; ``sensitivity``, by how much the loss would change
            without it, as AdaLoRA has it.
        arbiter: which slots all clients keep: ``top``, those that most clients mark, as many as the
            schedule says; ``threshold``, those that the share ``threshold`` of the clients marks.
        threshold: of ``arbiter = "threshold"``.
        of: the allocator that says how many slots each client may have in the end; each client
            then keeps slots of its own, and nobody votes.
        of_options: its options.

    Raises:
        SettingsError: an option is out of its range, or ``of`` is an allocator that is itself
            asked every round.
        UnknownNameError: no allocator ``of``.
    """

    final: float = 0.25
    warmup: int = 1
    rest: int = 1
    score: Score = "change"
    arbiter: Arbiter = "top"
    threshold: float = 0.5
    of: str | None = None
    of_options: Mapping[str, Any] | None = None

    needs: Needs = field(init=False, repr=False)
    _of: Allocator | None = field(init=False, repr=False)

    def __post_init__(self) -> None:
        for name, value in (("final", self.final), ("threshold", self.threshold)):
            if not 0 < value <= 1:
                raise SettingsError(
                    f"fedara: {name}: expected above 0 and at most 1, got {value!r}"
                )
        for name, value in (("warmup", self.warmup), ("rest", self.rest)):
            if value < 0:
                raise SettingsError(f"fedara: {name}: expected at least 0 rounds, got {value!r}")
        other = ALLOCATORS.build(Named(self.of, self.of_options or {})) if self.of else None
        asked = other.needs if other else NOTHING
        if asked.every_round or asked.slots:
            raise SettingsError(
                f"fedara: of: expected an allocator that chooses once, got {self.of!r}"
            )
        object.__setattr__(self, "_of", other)
        needs = Needs(asked.criteria, asked.spectra, True, slots=True, observes=SCORES[self.score])
        object.__setattr__(self, "needs", needs)

    def step(
        self, state: Mapping[str, Any] | None, evidence: Evidence, limits: Limits
    ) -> tuple[Choice, dict[str, Any]]:
        """Give up slots as the schedule says.

        Args:
            state: the slots of all clients, or of each one; None at the start.
            evidence: ``observed`` of the clients that trained last.
            limits: ranges, caps and a budget, which holds from the start, or with ``of`` in the
                end.

        Raises:
            BudgetError: the budget does not cover the least ranks.
        """
        places = Places.of(limits)
        reports = {
            client: places.scores(modules, evidence.slots[client])
            for client, modules in evidence.observed.items()
        }
        if self._of:
            choice, state = self._each_its_own(state, reports, evidence, limits, places)
        else:
            choice, state = self._one_for_all(state, reports, evidence, limits, places)
        return choice, state

    def _left(self, evidence: Evidence, first: int, last: int) -> int:
        return slots_left(
            evidence.round, evidence.rounds, first, last, warmup=self.warmup, rest=self.rest
        )

    def _one_for_all(
        self,
        state: Mapping[str, Any] | None,
        reports: Mapping[str, Floats],
        evidence: Evidence,
        limits: Limits,
        places: Places,
    ) -> tuple[Choice, dict[str, Any]]:
        """Let the clients that trained vote for the slots that all of them keep."""
        if state is None:
            most = _ranks(uniform(evidence, limits))
            mask = places.mask({m: range(max(own)) for m, own in most.items()})
            state = {"first": int(mask.sum()), "most": most}
            worth = np.zeros(places.count)
        else:
            mask, worth = places.mask(state["slots"]), np.array(state["worth"])
        last = max(1, round(self.final * state["first"]))
        count = self._left(evidence, state["first"], last)
        if reports:
            scores = np.stack([*reports.values()])
            worth = np.where(mask, np.where(np.isfinite(scores), scores, 0).mean(0), 0)
            mask = voted(mask, scores, count, last, self.arbiter, self.threshold)
        order = np.lexsort((np.arange(places.count), -worth))
        masks = places.capped(mask, order, evidence.clients, state["most"])
        choice = self._choice(masks, evidence, limits, places, mask)
        return choice, {**state, "slots": places.slots(mask), "worth": worth.tolist()}

    def _each_its_own(
        self,
        state: Mapping[str, Any] | None,
        reports: Mapping[str, Floats],
        evidence: Evidence,
        limits: Limits,
        places: Places,
    ) -> tuple[Choice, dict[str, Any]]:
        """Let each client that trained keep as many of its own slots as it may have."""
        if state is not None:
            masks = {client: places.mask(own) for client, own in state["slots"].items()}
            for client, scores in reports.items():
                first, last = state["first"][client], state["goal"][client]
                masks[client] = marked(masks[client], scores, self._left(evidence, first, last))
            choice = self._choice(masks, evidence, limits, places)
            slots = {client: places.slots(mask) for client, mask in masks.items()}
            return choice, {**state, "slots": slots}
        assert self._of is not None
        base, _ = self._of.step(None, evidence, limits)
        every, order = np.ones(places.count, bool), np.arange(places.count)
        most = _ranks(uniform(evidence, replace(limits, budget=None)))
        masks = places.capped(every, order, evidence.clients, most)
        goal = dict(zip(base.clients, np.sum([*base.ranks.values()], axis=0).tolist(), strict=True))
        choice = replace(
            self._choice(masks, evidence, limits, places),
            scores=base.scores,
            criterion_weights=base.criterion_weights,
            contributions=base.contributions,
            share=base.share,
        )
        slots = {client: places.slots(mask) for client, mask in masks.items()}
        first = {client: int(mask.sum()) for client, mask in masks.items()}
        return choice, {"slots": slots, "first": first, "goal": goal}

    def _choice(
        self,
        masks: Mapping[str, Mask],
        evidence: Evidence,
        limits: Limits,
        places: Places,
        alive: Mask | None = None,
    ) -> Choice:
        slots = {client: places.slots(mask) for client, mask in masks.items()}
        whose = "each client keeps its own"
        if alive is not None:
            whose = f"{int(alive.sum())} of {places.count} left"
        basis = f"the slots that training needs: {whose}"
        choice = choose_slots(evidence, replace(limits, budget=None), slots, basis)
        left = np.any([*masks.values()], axis=0) if alive is None else alive
        gone = {m: np.array(own, np.int64) for m, own in places.slots(~left).items() if own}
        return replace(choice, gone=gone)


def marked(mask: Mask, scores: Floats, count: int) -> Mask:
    """Return the ``count`` slots of a mask (S,) with the best scores (S,), the first of equal ones.

    Args:
        mask: the slots that are left.
        scores: of each; those that are not finite are of slots that the client does not have.
        count: how many are kept; all if there are no more.
    """
    known = np.where(mask & np.isfinite(scores), scores, -np.inf)
    best = np.lexsort((np.arange(len(mask)), -known))[:count]
    kept = np.zeros(len(mask), bool)
    kept[best] = True
    kept &= mask
    return kept


def voted(
    mask: Mask, scores: Floats, count: int, least: int, arbiter: Arbiter, threshold: float
) -> Mask:
    """Let clients mark their best slots, and keep those with enough marks.

    Args:
        mask: (S,) the slots that are left.
        scores: (k, S) of k clients; not finite where a client does not have the slot.
        count: how many each of them marks, and how many ``top`` keeps.
        least: how many are kept at least.
        arbiter: ``top`` or ``threshold``.
        threshold: share of the clients.
    """
    if count >= mask.sum():
        return mask
    votes = np.mean([marked(mask, own, count) for own in scores], axis=0)
    mean = np.where(np.isfinite(scores), scores, 0.0).mean(0)
    enough: Mask = mask & (votes >= threshold)
    if arbiter == "threshold" and enough.sum() >= least:
        return enough
    kept = count if arbiter == "top" else least
    known = np.where(mask, votes, -1.0)
    best = np.lexsort((np.arange(len(mask)), -mean, -known))[:kept]
    chosen = np.zeros(len(mask), bool)
    chosen[best] = True
    chosen &= mask
    return chosen


def _ranks(choice: Choice) -> dict[str, list[int]]:
    return {module: own.tolist() for module, own in choice.ranks.items()}
