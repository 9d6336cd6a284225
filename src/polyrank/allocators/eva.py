"""Ranks per module by where the inputs vary: EVA's redistribution, for each client.

Paischer, Hauzenberger, Schmied, Alkin, Deisenroth, Hochreiter, "One Initialization to Rule
them All: Fine-tuning via Explained Variance Adaptation", 2024, https://arxiv.org/abs/2410.07170

As in PEFT: every module brings its explained-variance ratios, the largest of all modules
get the slots, and no module gets more than rho times its rank before. Not here: EVA's start
of ``a`` with the directions themselves.

Ours: each client has its own ratios and its own total; every module keeps r_min, where EVA
may leave one without a slot; a budget in parameters or bytes is moved as such, so that
modules with cheap slots get more of them; equal ratios go by component, then by module.
"""

import math
from collections.abc import Sequence

import numpy as np

from polyrank.allocators.choice import Choice, Evidence, Floats
from polyrank.allocators.limits import Limits, Ranks
from polyrank.allocators.needs import Needs
from polyrank.allocators.uniform import uniform
from polyrank.errors import DataError, SettingsError

ROUNDING = 1e-9  # of ratios that should fall and sum to 1 at most


@Needs(spectra=True)
def eva(evidence: Evidence, limits: Limits, *, rank: int | None = None, rho: float = 2.0) -> Choice:
    """Give every client the same total, and its modules shares of it by explained variance.

    The total is what ``uniform`` gives: with ``rank`` that rank in all modules, else the
    largest that the budget allows. It is spent but for less than one slot, as far as
    ``rho``, ranges and caps let it.

    Args:
        evidence: ``spectra`` of every client and module; a component that is not in them, for
            they were cut, counts as ratio 0.
        limits: ranges, budget and caps.
        rank: rank of every module before slots are moved.
        rho: a module's largest rank is ``round(rho * its rank before)``; half rounds to even.

    Raises:
        SettingsError: neither a rank nor a budget, impossible options, or spectra that are missing.
        DataError: ratios that are not finite, negative, not falling, or above 1 in sum.
        BudgetError: the budget does not cover the ranks.
    """
    if not (math.isfinite(rho) and rho >= 1):
        raise SettingsError(f"eva: rho: expected a finite number >= 1, got {rho!r}")
    before, capped = _before(rank, evidence, limits)
    lower, upper = limits.bounds(evidence.clients)
    ranges = limits.modules.values()
    r_max = np.array([[module.r_max] for module in ranges])
    most = np.clip(np.rint(rho * before), lower, r_max).astype(np.int64)
    prices = limits.prices() if limits.budget else np.ones(len(lower), np.int64)
    ranks = lower.copy()
    for k, client in enumerate(evidence.clients):
        spectra = [_checked(client, module, evidence) for module in limits.modules]
        left = int(prices @ (before[:, k] - lower[:, k]))
        held = np.minimum(most[:, k], upper[:, k])
        ranks[:, k] += _shares(spectra, lower[:, k], held, prices, left)
        if (held < most[:, k]).any():
            free = lower[:, k] + _shares(spectra, lower[:, k], most[:, k], prices, left)
            capped[k] |= bool((free > ranks[:, k]).any())
    return Choice(
        clients=evidence.clients,
        ranks=dict(zip(limits.modules, ranks, strict=True)),
        basis="the same total for all, by module where the client's inputs vary most",
        capped=capped,
    )


def _before(
    rank: int | None, evidence: Evidence, limits: Limits
) -> tuple[Ranks, np.ndarray[tuple[int], np.dtype[np.bool_]]]:
    """Ranks (M, n) before slots are moved, within range, and clients (n,) held by their cap."""
    if rank is None and limits.budget is None:
        raise SettingsError("eva: expected a rank or ranks.budget to share out, got neither")
    lower, _ = limits.bounds(evidence.clients)
    found = uniform(evidence, limits, rank=rank)
    given: Ranks = np.stack([found.ranks[module] for module in limits.modules])
    ranks = np.maximum(given, lower)
    limits.check_cost(ranks, evidence.clients, f"rank {rank} in all modules")
    capped = np.zeros(len(evidence.clients), bool) if found.capped is None else found.capped
    return ranks, capped


def _checked(client: str, module: str, evidence: Evidence) -> Floats:
    """Ratios (k,) of one client and module."""
    given: Sequence[float] | None = evidence.spectra.get(client, {}).get(module)
    where = f"eva: client {client!r}, module {module!r}"
    if given is None:
        raise SettingsError(f"{where}: expected explained-variance ratios, got none")
    ratios: Floats = np.asarray(given, np.float64)
    good = ratios.ndim == 1 and (ratios >= 0).all()
    if not (good and (np.diff(ratios) <= ROUNDING).all() and ratios.sum() <= 1 + ROUNDING):
        raise DataError(
            f"{where}: expected falling ratios from 0 up that sum to 1 at most, got {list(given)}"
        )
    return ratios


def _shares(
    spectra: Sequence[Floats], lower: Ranks, most: Ranks, prices: Ranks, left: int
) -> Ranks:
    """Slots (M,) above ``lower`` (M,) that one client's modules get for ``left`` in all."""
    component = np.concatenate([np.arange(a, b) for a, b in zip(lower, most, strict=True)])
    module = np.repeat(np.arange(len(lower)), most - lower)
    ratio = np.concatenate(
        [
            np.pad(ratios, (0, max(0, b - len(ratios))))[a:b]
            for ratios, a, b in zip(spectra, lower, most, strict=True)
        ]
    )
    queue = module[np.lexsort((module, component, -ratio))]
    given = np.zeros(len(lower), np.int64)
    while len(queue):
        count = int(np.searchsorted(np.cumsum(prices[queue]), left, side="right"))
        given += np.bincount(queue[:count], minlength=len(lower))
        left -= int(prices[queue[:count]].sum())
        queue = queue[count:]
        queue = queue[prices[queue] <= left]  # the first in it was too dear
    return given
