"""The largest rank that a client's memory and bandwidth allow: ranks by hardware.

Ours, as the rule that device-aware federations use in place of data: one level for all
modules of a client, each module clipped to its own range.

Counted is LoRA alone, sum over modules of rank * slot_parameters: the frozen model, its
activations and the extras are not known here, so give what is left beside them.
"""

import math
from collections.abc import Mapping
from fractions import Fraction

import numpy as np

from polyrank.allocators.choice import Choice, Evidence
from polyrank.allocators.limits import Limits, Ranks
from polyrank.errors import BudgetError, SettingsError, UnknownNameError, nearest

PerClient = float | Mapping[str, float]
SENT_BYTES = 2 * 4  # float32, down and up
NO_LIMIT = np.iinfo(np.int64).max


def capacity(
    evidence: Evidence,
    limits: Limits,
    *,
    memory: PerClient | None = None,
    bandwidth: PerClient | None = None,
    seconds: float | None = None,
    bytes_per_parameter: float = 16,
) -> Choice:
    """Give each client the largest rank, alike in all modules, that its device can take.

    A rank costs ``sum(rank * slot_parameters) * bytes_per_parameter`` of memory, and
    ``sum(rank * slot_parameters) * 8`` bytes sent in a round, both ways together.

    Args:
        evidence: criteria are not read.
        limits: ranges, budget and caps.
        memory: bytes for LoRA and its training, one number for all clients or a table by
            client; a client that is not named has no such limit.
        bandwidth: bytes per second, in the same forms; goes with ``seconds``.
        seconds: time allowed for sending LoRA both ways in a round.
        bytes_per_parameter: 16 for a float32 weight, its gradient and two moments of Adam.

    Raises:
        SettingsError: neither memory nor bandwidth, or a number that is not finite and above 0.
        UnknownNameError: a table names a client that is not there.
        BudgetError: a client cannot take the least ranks, or all together exceed the budget.
    """
    if memory is None and bandwidth is None:
        raise SettingsError("capacity: expected memory or bandwidth, got neither")
    if (bandwidth is None) != (seconds is None):
        raise SettingsError(
            f"capacity: expected bandwidth and seconds together, "
            f"got bandwidth {bandwidth!r}, seconds {seconds!r}"
        )
    kinds: list[tuple[str, PerClient, Fraction]] = []
    if memory is not None:
        kinds.append(("memory", memory, 1 / _exact(bytes_per_parameter, "bytes_per_parameter")))
    if bandwidth is not None and seconds is not None:
        kinds.append(("bandwidth", bandwidth, _exact(seconds, "seconds") / SENT_BYTES))
    room = np.full(len(evidence.clients), NO_LIMIT)
    for what, given, parameters_per_unit in kinds:
        own = _parameters(what, given, parameters_per_unit, evidence)
        _check_least(what, given, own, parameters_per_unit, evidence, limits)
        room = np.minimum(room, own)
    ranks = _largest(room, evidence, limits)
    limits.check_cost(ranks, evidence.clients, "the ranks that the devices can take")
    free = _largest(room, evidence, Limits(limits.modules))
    names = [what for what, _, _ in kinds]
    return Choice(
        clients=evidence.clients,
        ranks=dict(zip(limits.modules, ranks, strict=True)),
        basis=f"the largest rank that {' and '.join(names)} allow{'s' * (len(names) == 1)}",
        capped=np.any(free > ranks, axis=0),
    )


def _exact(number: float, where: str) -> Fraction:
    """The decimal the user wrote: 0.1 * 80 / 8 is one parameter, not a little more."""
    if not (math.isfinite(number) and number > 0):
        raise SettingsError(f"capacity: {where}: expected a finite number above 0, got {number!r}")
    return Fraction(repr(float(number)))


def _parameters(what: str, given: PerClient, per_unit: Fraction, evidence: Evidence) -> Ranks:
    """Parameters (n,) that each client can take by ``what``, rounded down."""
    table = given if isinstance(given, Mapping) else dict.fromkeys(evidence.clients, given)
    known = set(evidence.clients)
    for client in table:
        if client not in known:
            raise UnknownNameError(
                f"capacity: {what}: there is no client {client!r}"
                f"{nearest(client, evidence.clients)}; "
                f"the clients are {', '.join(list(evidence.clients)[:20])}"
            )
    room = {
        client: math.floor(_exact(amount, f"{what} of client {client!r}") * per_unit)
        for client, amount in table.items()
    }
    return np.array([min(room.get(c, NO_LIMIT), NO_LIMIT) for c in evidence.clients], np.int64)


def _cost(ranks: Ranks, limits: Limits) -> Ranks:
    """Parameters (n,) of ranks (M, n)."""
    slots = np.array([module.slot_parameters for module in limits.modules.values()])
    parameters: Ranks = slots @ ranks
    return parameters


def _check_least(
    what: str,
    given: PerClient,
    room: Ranks,
    per_unit: Fraction,
    evidence: Evidence,
    limits: Limits,
) -> None:
    lower, _ = limits.bounds(evidence.clients)
    least = _cost(lower, limits)
    if (least <= room).all():
        return
    at = int(np.argmax(least > room))
    client = evidence.clients[at]
    has = given[client] if isinstance(given, Mapping) else given
    unit = "bytes" if what == "memory" else "bytes per second"
    raise BudgetError(
        f"client {client!r}: the least ranks need {math.ceil(int(least[at]) / per_unit)} {unit} "
        f"of {what}, got {has:.10g}; lower r_min, give it a cap, or adapt fewer modules"
    )


def _largest(room: Ranks, evidence: Evidence, limits: Limits) -> Ranks:
    """Ranks (M, n) at each client's largest level that costs no more than ``room`` (n,).

    The level is built bit by bit, the highest first: costs grow with it.
    """
    lower, upper = limits.bounds(evidence.clients)
    level = np.zeros(len(room), np.int64)
    for bit in reversed(range(int(upper.max()).bit_length())):
        trial = level + (1 << bit)
        fits = _cost(np.clip(trial, lower, upper), limits) <= room
        level = np.where(fits, trial, level)
    ranks: Ranks = np.clip(level, lower, upper)
    return ranks
