"""Choices that name slots by their numbers, where ranks are how many there are."""

from collections.abc import Mapping, Sequence

import numpy as np

from polyrank.allocators.choice import Choice, Evidence
from polyrank.allocators.limits import Limits
from polyrank.errors import SettingsError

Slots = Mapping[str, Mapping[str, Sequence[int]]]


def choose_slots(evidence: Evidence, limits: Limits, slots: Slots, basis: str) -> Choice:
    """Make a choice of slots, and count what they cost.

    Args:
        evidence: names the clients.
        limits: caps and budget hold for the number of slots; r_min does not.
        slots: client -> module -> numbers of slots, from 0 to r_max - 1, each once.
        basis: in plain words, how they were chosen.

    Raises:
        SettingsError: a client or module is missing, a slot is not there or twice, or there are
            more than the client's cap.
        BudgetError: they cost more than the budget.
    """
    chosen = {
        client: {m: np.array(sorted(slots[client][m]), np.int64) for m in limits.modules}
        for client in evidence.clients
    }
    ranks = {m: np.array([len(chosen[c][m]) for c in evidence.clients]) for m in limits.modules}
    choice = Choice(evidence.clients, ranks, basis, slots=chosen)
    check_slots(choice, limits)
    _, upper = limits.bounds(evidence.clients)
    for row, (module, counts) in enumerate(ranks.items()):
        if (counts > upper[row]).any():
            k = int(np.argmax(counts > upper[row]))
            raise SettingsError(
                f"client {evidence.clients[k]!r}, module {module!r}: expected at most "
                f"{upper[row][k]} slots, got {counts[k]}"
            )
    limits.check_cost(np.stack([*ranks.values()]), evidence.clients, "the chosen slots")
    return choice


def check_slots(choice: Choice, limits: Limits) -> None:
    """Check that the slots of a choice are numbers of the server's slots.

    Raises:
        SettingsError: they are not; the message names client and module.
    """
    for client, modules in (choice.slots or {}).items():
        for module, numbers in modules.items():
            r_max = limits.modules[module].r_max
            rises = bool((np.diff(numbers) > 0).all())
            if len(numbers) and not (rises and 0 <= numbers[0] <= numbers[-1] < r_max):
                raise SettingsError(
                    f"client {client!r}, module {module!r}: expected slots from 0 to {r_max - 1}, "
                    f"each once and rising, got {numbers.tolist()}"
                )
