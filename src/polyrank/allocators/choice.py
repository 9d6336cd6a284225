"""What an allocator is told of the clients, and what it answers."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from polyrank.allocators.limits import Limits, Ranks
from polyrank.errors import DataError, SettingsError, ShapeError

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Evidence:
    """What is known of the clients when ranks are chosen.

    Args:
        clients: n client ids, each once.
        criteria: criterion name -> (n,) values in the order of the clients.
        round: the round that the ranks are for, from 0.
        seed: the run's root seed.
        rounds: of the run in all; 0 where there is no run.
        participation: share of the clients that take part in a round.
        spectra: client -> module -> (k,) explained-variance ratios of the module's inputs,
            falling (``polyrank.client.activations``); empty unless the allocator reads them.
        observed: client -> module -> (r,) what the allocator's observer gave for each of the
            client's slots, of the clients that trained last; see ``polyrank.allocators.needs``.
        slots: client -> module -> (r,) the numbers of these slots.
        sent: client -> module -> how many slots it sent, of the clients that trained last;
            or triples of its change; empty unless the allocator has clients give up some.
        cuts: number of slots -> loss of the global model cut to them, on rows that nobody trains
            on; empty unless the allocator asks for it.

    Raises:
        SettingsError: no clients, or one twice.
        ShapeError: a criterion does not have one value per client.
        DataError: a criterion is not finite; the message names it and the client.
    """

    clients: Sequence[str]
    criteria: Mapping[str, Floats]
    round: int = 0
    seed: int = 0
    rounds: int = 0
    participation: float = 1.0
    spectra: Mapping[str, Mapping[str, Sequence[float]]] = field(default_factory=dict)
    observed: Mapping[str, Mapping[str, Floats]] = field(default_factory=dict)
    slots: Mapping[str, Mapping[str, Ranks]] = field(default_factory=dict)
    sent: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    cuts: Mapping[int, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        given = self.clients
        names: list[str] = given.tolist() if isinstance(given, np.ndarray) else list(given)
        object.__setattr__(self, "clients", names)
        if not names:
            raise SettingsError("expected at least one client to give ranks to, got none")
        if len(set(names)) < len(names):
            order = id_order(names)
            twice = next(b for a, b in pairwise(order) if names[a] == names[b])
            raise SettingsError(f"expected each client once, got {names[twice]!r} more than once")
        for name, values in self.criteria.items():
            if np.shape(values) != (len(names),):
                raise ShapeError(
                    f"criterion {name!r}: expected {len(names)} values, one per client, "
                    f"got shape {np.shape(values)}"
                )
            finite = np.isfinite(values)
            if not finite.all():
                at = int(np.argmin(finite))
                raise DataError(
                    f"criterion {name!r} of client {names[at]!r}: expected a finite number, "
                    f"got {values[at]}"
                )


@dataclass(frozen=True)
class Choice:
    """Ranks, and why.

    Args:
        clients: n client ids.
        ranks: module -> (n,) ranks in the order of the clients.
        basis: in plain words, how ranks were chosen where there are no scores.
        scores: (n,) higher is better, or None.
        criterion_weights: criterion -> its weight in the scores.
        contributions: (n, J) what each criterion of ``criterion_weights`` did to a score
            (``polyrank.mcda.balance``), or None.
        capped: (n,) the client's cap kept a rank lower than it would have been.
        share: how much of the range of ranks the scores were spread over, from 0 (clients too
            alike to tell apart: one rank) to 1; see ``polyrank.allocators.alike``.
        pull: (n,) 1 where the budget raised the client's ranks over what its score alone
            gives, -1 where it lowered them, else 0.
        slots: client -> module -> (r,) rising numbers of its slots, for an allocator that
            ``needs`` slots; None: a client of rank r has the slots 0 .. r-1.
        errors: (n,) share of the squared norm of its change that a client need not send, for an
            allocator with ``changes``.
        gone: module -> (s,) slots that are given up for good: they leave the global model.
        down: how many slots of each module clients are sent; the rest of theirs start from the
            seed of the round. None for all. For an allocator with ``changes``.

    Raises:
        ShapeError: ranks are not how many slots there are.
    """

    clients: Sequence[str]
    ranks: Mapping[str, Ranks]
    basis: str
    scores: Floats | None = None
    criterion_weights: Mapping[str, float] = field(default_factory=dict)
    contributions: Floats | None = None
    capped: NDArray[np.bool_] | None = None
    pull: NDArray[np.int8] | None = None
    share: float = 1.0
    slots: Mapping[str, Mapping[str, Ranks]] | None = None
    errors: Floats | None = None
    gone: Mapping[str, Ranks] = field(default_factory=dict)
    down: int | None = None

    def __post_init__(self) -> None:
        if self.slots is None:
            return
        for module, ranks in self.ranks.items():
            counts = [len(self.slots[client][module]) for client in self.clients]
            if ranks.tolist() != counts:
                raise ShapeError(
                    f"module {module!r}: expected ranks {counts}, as many as there are slots, "
                    f"got {ranks.tolist()}"
                )


Chooser = Callable[[Evidence, Limits], Choice]


def id_order(clients: Sequence[str]) -> NDArray[np.intp]:
    """Return the permutation (n,) that sorts clients by id, by code points.

    Methods compute in this order: floating-point sums, draws and ties then do not depend
    on the order in which clients were given.
    """
    return np.array(sorted(range(len(clients)), key=clients.__getitem__), dtype=np.intp)
