"""A rank by need: nobody sets one, the server's slots and each client's rank are measured.

Two ranks are needed. The **server's**, S: after a round the global model is cut to its first k
slots, which are its leading singular triples, and judged on rows that nobody trains on. S is the
smallest k that keeps nearly all of what the slots gain, and as many again as a reserve; it grows
where the reserve is used up, and shrinks where two measurements in a row say so, but never below
those that it started with: a model that was confined to few slots does not show what more of them
would have held. A **client's**, r_k: it sends the fewest singular triples of its change
that hold ``1 - error`` of the squared norm; what is left it adds to its next change
(``polyrank.lora.changes``). Where a share q of the clients takes part in a round, that waits 1/q
rounds, and ``q error`` stands for ``error``. Another allocator's scores may say who sends more of
it, and a budget how much all send together (``polyrank.allocators.error_shares``).

What a model needs to hold what it knows is less than it needs to learn it well. So a client is
sent S slots and trains R, twice as many: the others start from the seed, without effect,
and are not sent. The server keeps R slots, too: what does not go down today adds up. With more of
them than at the start a client's learning rate is lower, by the square root (``Changes.rate``).

Ours. Relatives: PowerSGD (https://arxiv.org/abs/1905.13727) sends low-rank changes of one rank
with error feedback; FLoCoRA (https://arxiv.org/abs/2406.14082) sends LoRA factors in few bits;
FedARA (https://arxiv.org/abs/2501.14406) gives slots up by votes.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, TypeAlias

import numpy as np

from polyrank.allocators import ALLOCATORS
from polyrank.allocators.choice import Choice, Evidence
from polyrank.allocators.error_shares import by_score, next_scale, shares
from polyrank.allocators.limits import Limits
from polyrank.allocators.needs import NOTHING, Changes, Needs
from polyrank.allocators.protocol import Allocator
from polyrank.errors import SettingsError
from polyrank.registry import Named

# slots that go down, how often in a row fewer were enough, each client's factor of its error, and
# the scale of all
State: TypeAlias = dict[str, Any]

GROWTH = 1.5  # times the slots where the reserve is used up
PATIENCE = 2  # measurements in a row that must find fewer slots enough
MOST = 100  # times as many slots, of a reserve and of spare ones
FLOOR = 0.01  # share of the gain that stands for a loss that is next to nothing
FINEST = 16  # a number of slots is judged down to this part of all
GRID = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128, 192, 256)


def enough(losses: Mapping[int, float], tolerance: float) -> int | None:
    """Return the smallest k whose model is hardly worse than the best.

    ``L(k) <= L* + tolerance min(L(0) - L*, L*)`` with ``L*`` the least loss, here and at every
    larger k up to that of ``L*``: slots that only make the model worse are not needed. A loss
    counts as small beside what the slots gain and beside what is left of it. The gain alone would
    be too strict a measure where a good base leaves little to gain, and too lax a one where hardly
    any loss is left. Where less than ``FLOOR`` of the gain is left, that share stands for it.

    Args:
        losses: k -> loss of the model cut to k slots, with k = 0 and k = R, the largest.
        tolerance: a share.

    Returns:
        None where no slots gain anything, or a loss is no number.

    Example:
        >>> enough({0: 2.0, 2: 1.2, 4: 1.005, 8: 1.0}, 0.01), enough({0: 1.0, 4: 1.1}, 0.01)
        (4, None)
        >>> enough({0: 2.0, 2: 1.2, 4: 1.0, 8: 1.1}, 0.01)
        4
    """
    least = min(losses.values())
    gain = losses[0] - least
    if not gain > 0 or any(math.isnan(loss) for loss in losses.values()):
        return None
    return within(losses, tolerance * min(gain, max(least, FLOOR * gain)))


def within(losses: Mapping[int, float], allowed: float) -> int:
    """Return the smallest k of at least 1 whose loss is near the least, and all between, too.

    Args:
        losses: k -> loss of the model cut to k slots.
        allowed: how much above the least one a loss may be.
    """
    least = min(losses.values())
    found = max(k for k, loss in losses.items() if loss == least)
    for k in sorted((k for k in losses if k < found), reverse=True):
        if not losses[k] <= least + allowed:
            break
        found = k
    return max(1, found)


def places(slots: int) -> list[int]:
    """Return the numbers of slots at which a model with so many is cut and judged."""
    return [0, *(k for k in GRID if slots / FINEST <= k < slots), slots]


@dataclass(frozen=True)
class Need:
    """Measure the server's slots and each client's rank; no range and no budget need be set.

    Args:
        error: share of the squared norm of its change that a client need not send, times the share
            of clients that take part in a round. More of it means fewer bytes up, and a slower
            start.
        start: slots that are sent in the first round, and the fewest later on.
        tolerance: share of what the best number of slots gains on the judged rows, or of the loss
            that is left where that is less, that a smaller one may lose.
        reserve: slots that are sent beyond those that are enough, as a share of them.
        spare: slots that a client adds to train in, for each that it is sent; they start from the
            seed of the round. They cost nothing to send, and a longer step.
        settled: share of the rounds after which the number of slots is not changed any more.
        feedback: what a client has not sent counts with this weight a round in its next change; 0
            forgets it.
        download_error: share of the squared norm of the step from the model that a client has to
            the one there is that the server need not send; 0 sends the whole model every time.
            0.05 takes a third to a half off what goes down where all clients take part, and costs
            about a point.
        of: an allocator whose scores say who sends more of its change: from half of ``error`` for
            the best score to twice for the worst. Left out, all have the same.
        of_options: its options.

    Raises:
        SettingsError: an option is out of its range, or ``of`` is asked every round.
        UnknownNameError: no allocator ``of``.
    """

    error: float = 0.2
    start: int = 8
    tolerance: float = 0.05
    reserve: float = 1.0
    spare: float = 1.0
    settled: float = 0.6
    feedback: float = 1.0
    download_error: float = 0.0
    of: str | None = None
    of_options: Mapping[str, Any] | None = None

    needs: Needs = field(init=False, repr=False)
    _of: Allocator | None = field(init=False, repr=False)

    def __post_init__(self) -> None:
        for name in ("error", "tolerance", "download_error"):
            value = getattr(self, name)
            if not 0 <= value < 1:
                raise SettingsError(f"need: {name}: expected from 0 to below 1, got {value!r}")
        for name in ("settled", "feedback"):
            value = getattr(self, name)
            if not 0 <= value <= 1:
                raise SettingsError(f"need: {name}: expected from 0 to 1, got {value!r}")
        if self.start < 1:
            raise SettingsError(f"need: start: expected at least 1 slot, got {self.start!r}")
        for name in ("reserve", "spare"):
            value = getattr(self, name)
            if not 0 <= value <= MOST:
                raise SettingsError(
                    f"need: {name}: expected a number from 0 to {MOST}, got {value!r}"
                )
        other = ALLOCATORS.build(Named(self.of, self.of_options or {})) if self.of else None
        asked = other.needs if other else NOTHING
        if asked.every_round or asked.slots:
            raise SettingsError(
                f"need: of: expected an allocator that chooses once, got {self.of!r}"
            )
        object.__setattr__(self, "_of", other)
        needs = Needs(
            asked.criteria,
            asked.spectra,
            True,
            changes=Changes(self.feedback, self.download_error, self._trained(self.start)),
            cuts=self._cuts,
        )
        object.__setattr__(self, "needs", needs)

    def _cuts(self, slots: int, round: int, rounds: int) -> list[int]:
        """Return the numbers of slots at which the global model is judged after a round."""
        return [] if not round or round > self.settled * rounds else places(slots)

    def _trained(self, slots: int) -> int:
        """Return how many slots a client trains that is sent so many."""
        return math.ceil(slots * (1 + self.spare))

    def step(self, state: State | None, evidence: Evidence, limits: Limits) -> tuple[Choice, State]:
        """Choose how many slots go down from the losses of the server's own cut model.

        Args:
            state: what the last call returned; None at the start.
            evidence: ``cuts``, the losses; empty in a round without a measurement. ``sent``, what
                clients sent, for a budget.
            limits: the largest rank of each module; each client's cap, the largest rank that it
                trains, and sends; and a budget of what all clients send in a round, which is met
                from round to round, not in each.

        Raises:
            PolyRankError: what the other allocator raises.
        """
        if state is None:
            factors = self._factors(evidence, limits)
            state = {"slots": self.start, "fewer": 0, "factors": factors, "scale": 1.0}
        else:
            if evidence.cuts:
                state = {**state, **self._measured(state, evidence.cuts)}
            scale = next_scale(state["scale"], evidence.sent, len(evidence.clients), limits)
            state = {**state, "scale": scale}
        largest = max(m.r_max for m in limits.modules.values())
        state = {**state, "slots": min(state["slots"], largest)}
        return self._choice(state, evidence, limits), state

    def _factors(self, evidence: Evidence, limits: Limits) -> list[float]:
        """Return by what each client's share is multiplied, from the other allocator's scores."""
        if self._of is None:
            return [1.0] * len(evidence.clients)
        choice, _ = self._of.step(None, evidence, replace(limits, budget=None))
        if choice.scores is None:
            raise SettingsError(f"need: of: expected an allocator with scores, got {self.of!r}")
        factors: list[float] = by_score(choice.scores, choice.share).tolist()
        return factors

    def _measured(self, state: State, losses: Mapping[int, float]) -> dict[str, int]:
        """Return how many slots there are to be, and how often in a row fewer were enough."""
        slots, fewer = state["slots"], 0
        k = enough(losses, self.tolerance)
        if k is None:
            return {"fewer": 0}
        goal = max(self.start, math.ceil(k * (1 + self.reserve)))
        if goal > slots:
            slots = max(goal, math.ceil(GROWTH * slots))
        elif goal < slots:
            fewer = state["fewer"] + 1
            if fewer == PATIENCE:
                slots, fewer = goal, 0
        return {"slots": slots, "fewer": fewer}

    def _choice(self, state: State, evidence: Evidence, limits: Limits) -> Choice:
        slots, factors = state["slots"], np.array(state["factors"])
        _, upper = limits.bounds(evidence.clients)
        ranks = np.minimum(self._trained(slots), upper)
        largest = np.array([[module.r_max] for module in limits.modules.values()])
        return Choice(
            clients=evidence.clients,
            ranks=dict(zip(limits.modules, ranks, strict=True)),
            basis=f"the {slots} slots that the global model needs, {_sent(evidence.sent)}",
            errors=shares(self.error * evidence.participation, factors, state["scale"]),
            capped=np.any(upper < np.minimum(slots, largest), axis=0),
            down=slots,
        )


def _sent(sent: Mapping[str, Mapping[str, int]]) -> str:
    means: Sequence[float] = [float(np.mean([*of.values()])) for of in sent.values() if of]
    if not means:
        return "of which each client sends what its change needs"
    return f"of which clients sent {min(means):.3g} to {max(means):.3g} triples"
