"""HetLoRA's self-pruning: a client's rank falls where its last slots fell silent.

Cho, Liu, Xu, Fahrezi, Joshi, "Heterogeneous LoRA for Federated Fine-tuning of On-Device
Foundation Models", 2024, https://arxiv.org/abs/2401.06432

The tail of rank r is the slots from floor(decay * r) on. Where the product of the norms of
its two factors is smaller after a client's training than at download, the client cuts the tail
before it sends (``polyrank.allocators.pruning``), and its rank is floor(decay * r) from then
on. The paper's penalty on this product in the clients' loss and its aggregation are the
aggregator of the same name, ``polyrank.aggregators.hetlora``.

Ours: the start is any other chooser's, by default random; floors are those of the decimal that
the user wrote; r_min is kept, and ranks below it from the start are never raised.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from fractions import Fraction
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from polyrank.allocators import ALLOCATORS
from polyrank.allocators.choice import Choice, Evidence
from polyrank.allocators.limits import Limits, Ranks
from polyrank.allocators.needs import Needs
from polyrank.allocators.protocol import Allocator
from polyrank.errors import DataError, SettingsError, UnknownNameError, nearest
from polyrank.registry import Named

if TYPE_CHECKING:
    from polyrank.lora.factors import Factors

State: TypeAlias = Mapping[str, Mapping[str, int]]  # client -> module -> rank


def kept_rank(rank: int, decay: float) -> int:
    """Return floor(decay * rank), exact for the decimal written: 0.29 * 100 is 29.

    Raises:
        SettingsError: decay is not above 0 and below 1.
    """
    if not 0 < decay < 1:
        raise SettingsError(f"hetlora: decay: expected a number above 0 and below 1, got {decay!r}")
    return math.floor(Fraction(repr(float(decay))) * rank)


def tail_product(factors: "Factors", decay: float) -> float:
    """Return ``||b[:, k:]||_F * ||a[k:, :]||_F`` with ``k = floor(decay * r)``, in float64.

    The paper's penalty on a client's last slots, and what its ranks are cut by.

    Args:
        factors: ``a`` (r, d_in), ``b`` (d_out, r); 0 without slots.
        decay: the share of the slots before the tail, above 0 and below 1.

    Raises:
        SettingsError: ``decay`` is out of range.

    Example:
        >>> import torch
        >>> from polyrank.lora.factors import Factors
        >>> a, b = torch.tensor([[9.0], [3.0]]), torch.tensor([[9.0, 4.0]])
        >>> tail_product(Factors(a, b, torch.arange(2)), 0.99)
        12.0
    """
    start, plain = kept_rank(factors.rank, decay), factors.folded()
    b, a = plain.b[:, start:].double(), plain.a[start:].double()
    return float(b.norm() * a.norm())


@dataclass(frozen=True)
class Tail:
    """The rule by which a client gives up the tail of its slots, for ``Needs.prunes``.

    Args:
        decay: the share of a rank before its tail, above 0 and below 1.
    """

    decay: float

    def kept(self, rank: int) -> int:
        """Return the slots before the tail."""
        return kept_rank(rank, self.decay)

    def gives_up(self, before: "Factors", after: "Factors") -> bool:
        """Tell whether training has shrunk the tail's product."""
        return tail_product(after, self.decay) < tail_product(before, self.decay)


@dataclass(frozen=True)
class HetLora:
    """Start from another chooser's ranks; clients whose training shrank their tail cut it off.

    Args:
        start: the allocator that gives the first ranks, by its name in the table.
        start_options: its options.
        decay: the share of a rank that is kept; a rank of 1 is never cut.

    Raises:
        SettingsError: decay is not above 0 and below 1, impossible start options, or a start
            that is itself asked every round.
        UnknownNameError: no allocator ``start``.
    """

    start: str = "random"
    start_options: Mapping[str, Any] | None = None
    decay: float = 0.99

    needs: Needs = field(init=False, repr=False)
    _starter: Allocator = field(init=False, repr=False)

    def __post_init__(self) -> None:
        kept_rank(1, self.decay)
        if self.start == "hetlora":
            raise SettingsError("hetlora: start: expected another allocator, got 'hetlora'")
        starter = ALLOCATORS.build(Named(self.start, self.start_options or {}))
        if starter.needs.every_round:
            raise SettingsError(
                f"hetlora: start: expected an allocator that chooses once, got {self.start!r}"
            )
        object.__setattr__(self, "_starter", starter)
        needs = replace(starter.needs, once=True, prunes=Tail(self.decay))
        object.__setattr__(self, "needs", needs)

    def step(
        self, state: State | None, evidence: Evidence, limits: Limits
    ) -> tuple[Choice, dict[str, dict[str, int]]]:
        """Choose the first ranks, or lower those of the state to what the clients have kept.

        Args:
            state: client -> module -> rank, or None at the start.
            evidence: ``sent`` of the clients that trained; others keep their ranks.
            limits: of all rounds; a cap that has come since wins, also over r_min.

        Raises:
            SettingsError: the state is not of these clients and modules.
            UnknownNameError: slots came of a client or module that is not there.
            DataError: a number of sent slots that is below 1, or above the client's rank.
            BudgetError: the ranks cost more than the budget.
        """
        if state is None:
            choice, _ = self._starter.step(None, evidence, limits)
        else:
            choice = self._cut(state, evidence, limits)
        return choice, _state_of(choice)

    def _cut(self, state: State, evidence: Evidence, limits: Limits) -> Choice:
        ranks = _ranks_of(state, evidence, limits)
        _, upper = limits.bounds(evidence.clients)
        places = {client: k for k, client in enumerate(evidence.clients)}
        rows = {module: row for row, module in enumerate(limits.modules)}
        for client, modules in evidence.sent.items():
            k = _place(client, places, "client")
            for module, slots in modules.items():
                row = _place(module, rows, "module")
                if not 1 <= slots <= ranks[row, k]:
                    raise DataError(
                        f"hetlora: client {client!r}, module {module!r}: expected 1 to "
                        f"{ranks[row, k]} slots, got {slots!r}"
                    )
                ranks[row, k] = slots
        held = np.minimum(ranks, upper)
        limits.check_cost(held, evidence.clients, "the ranks of the last round")
        return Choice(
            clients=evidence.clients,
            ranks=dict(zip(limits.modules, held, strict=True)),
            basis=f"from {self.start}, cut where training shrank the last slots",
            capped=np.any(ranks > upper, axis=0),
        )


def _state_of(choice: Choice) -> dict[str, dict[str, int]]:
    return {
        client: {module: int(ranks[k]) for module, ranks in choice.ranks.items()}
        for k, client in enumerate(choice.clients)
    }


def _ranks_of(state: State, evidence: Evidence, limits: Limits) -> Ranks:
    """Ranks (M, n) of a state."""
    same = state.keys() == set(evidence.clients)
    if not same or any(of.keys() != limits.modules.keys() for of in state.values()):
        modules = sorted({module for of in state.values() for module in of})
        raise SettingsError(
            f"hetlora: expected a state of the clients {', '.join(sorted(evidence.clients)[:20])} "
            f"with the modules {', '.join(limits.modules)}, got clients "
            f"{', '.join(sorted(state)[:20])} with modules {', '.join(modules)}"
        )
    return np.array(
        [[state[client][module] for client in evidence.clients] for module in limits.modules],
        dtype=np.int64,
    )


def _place(name: str, places: Mapping[str, int], what: str) -> int:
    if name not in places:
        raise UnknownNameError(
            f"hetlora: sent: there is no {what} {name!r}{nearest(name, places)}; "
            f"there are {', '.join(list(places)[:20])}"
        )
    return places[name]
