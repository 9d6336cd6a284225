"""What ranks may be: a range per module, a budget over all clients, a cap per client.

All costs are whole numbers, so that "never above the budget" is exact.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from polyrank.errors import BudgetError, SettingsError, ShapeError

Ranks = NDArray[np.int64]
BudgetKind = Literal["mean_rank", "parameters", "bytes"]


@dataclass(frozen=True)
class ModuleRange:
    """The ranks one module may have.

    Args:
        r_min: smallest rank, at least 1.
        r_max: largest rank, the server's number of slots.
        slot_parameters: parameters of one slot, d_in + d_out.
        floor: smallest rank that may be given by hand, where r_min does not hold.

    Raises:
        SettingsError: not 1 <= r_min <= r_max, or slot_parameters below 1.
    """

    r_min: int
    r_max: int
    slot_parameters: int
    floor: int = 1

    def __post_init__(self) -> None:
        if not 1 <= self.r_min <= self.r_max:
            raise SettingsError(
                f"expected 1 <= r_min <= r_max, got r_min {self.r_min}, r_max {self.r_max}"
            )
        if self.slot_parameters < 1:
            raise SettingsError(f"expected slot_parameters >= 1, got {self.slot_parameters}")


@dataclass(frozen=True)
class Budget:
    """What the ranks of all clients together may cost.

    Args:
        kind: ``"mean_rank"``, the mean over clients of the mean over modules;
            ``"parameters"``, the sum over clients and modules of rank * slot_parameters;
            ``"bytes"``, that times ``bytes_per_number``.
        amount: the most that may be spent, in the unit of ``kind``.
        bytes_per_number: 4 for float32.

    Raises:
        SettingsError: an unknown kind, or an amount that is not a finite number above 0.
    """

    kind: BudgetKind
    amount: float
    bytes_per_number: int = 4

    def __post_init__(self) -> None:
        if self.kind not in get_args(BudgetKind):
            known = ", ".join(get_args(BudgetKind))
            raise SettingsError(f"budget kind: expected one of {known}, got {self.kind!r}")
        if not (math.isfinite(self.amount) and self.amount > 0):
            raise SettingsError(f"budget: expected a finite number above 0, got {self.amount!r}")
        if self.bytes_per_number < 1:
            raise SettingsError(f"expected bytes_per_number >= 1, got {self.bytes_per_number}")

    def price(self, module: ModuleRange) -> int:
        """Cost of one slot of one client in ``module``, in units of ``total``."""
        if self.kind == "mean_rank":
            return 1
        return module.slot_parameters * (self.bytes_per_number if self.kind == "bytes" else 1)

    def total(self, clients: int, modules: int) -> int:
        """Units that may be spent: slots, parameters or bytes, rounded down."""
        # The decimal the user wrote: 4.35 * 100 is 434.99999999999994 in floating point.
        exact = Fraction(repr(float(self.amount)))
        return math.floor(exact * clients * modules if self.kind == "mean_rank" else exact)


@dataclass(frozen=True)
class Limits:
    """All limits on one allocation.

    Args:
        modules: module name -> its range.
        budget: what all ranks together may cost, or None.
        caps: (n,) the largest rank each client can hold in any module, in the order of the
            clients, or None. A cap always wins, also over r_min and over ranks by hand.

    Raises:
        SettingsError: no modules.
    """

    modules: Mapping[str, ModuleRange]
    budget: Budget | None = None
    caps: NDArray[np.integer] | None = None

    def __post_init__(self) -> None:
        if not self.modules:
            raise SettingsError("expected at least one module to give ranks to, got none")

    def bounds(self, clients: Sequence[str]) -> tuple[Ranks, Ranks]:
        """Least and largest rank of every module and client, each (M, n).

        Raises:
            ShapeError: caps are not one per client.
            SettingsError: a cap is below 1 or not a whole number.
        """
        shape = (len(self.modules), len(clients))
        lower, upper = np.empty(shape, np.int64), np.empty(shape, np.int64)
        caps = self._checked_caps(clients)
        for row, module in enumerate(self.modules.values()):
            lower[row] = np.minimum(module.r_min, caps)
            upper[row] = np.minimum(module.r_max, caps)
        return lower, upper

    def prices(self) -> Ranks:
        """Cost of one slot in each module (M,), 0 without a budget."""
        price = self.budget.price if self.budget else lambda module: 0
        return np.array([price(module) for module in self.modules.values()], dtype=np.int64)

    def check_cost(self, ranks: Ranks, clients: Sequence[str], what: str) -> None:
        """Check that ranks (M, n), described by ``what``, fit the budget.

        Raises:
            BudgetError: they cost more; the message has the feasible range.
        """
        if self.budget is None:
            return
        modules, count = ranks.shape
        if cost_of(ranks, self.prices()) > self.budget.total(count, modules):
            cost, least, most = map(self._cost, (ranks, *self.bounds(clients)))
            raise BudgetError(
                f"a budget of {self.budget.amount:.10g} ({self.budget.kind}) is too small for "
                f"{what}, which cost {cost}; with r_min and caps as they are, the feasible "
                f"range is {least} to {most}"
            )

    def beyond(self, clients: Sequence[str]) -> str | None:
        """Say that a budget is more than the largest ranks cost; None where it can be spent."""
        if self.budget is None:
            return None
        lower, upper = self.bounds(clients)
        modules, count = upper.shape
        if self.budget.total(count, modules) <= cost_of(upper, self.prices()):
            return None
        return (
            f"a budget of {self.budget.amount:.10g} ({self.budget.kind}) cannot be spent; with "
            f"r_max and caps as they are, the feasible range is {self._cost(lower)} to "
            f"{self._cost(upper)}"
        )

    def _cost(self, ranks: Ranks) -> str:
        """Return what ranks (M, n) cost, in the unit of the budget."""
        unit = ranks.size if self.budget and self.budget.kind == "mean_rank" else 1
        return f"{cost_of(ranks, self.prices()) / unit:.10g}"

    def _checked_caps(self, clients: Sequence[str]) -> Ranks:
        count = len(clients)
        if self.caps is None:
            return np.full(count, np.iinfo(np.int64).max)
        caps = np.asarray(self.caps)
        if caps.shape != (count,):
            raise ShapeError(f"expected {count} caps, one per client, got shape {caps.shape}")
        good = (caps >= 1) & (caps == np.floor(caps))
        if not good.all():
            at = int(np.argmin(good))
            raise SettingsError(
                f"client {clients[at]!r}: expected a largest rank that is a whole number "
                f">= 1, got {caps[at]}"
            )
        return np.minimum(caps, np.iinfo(np.int32).max).astype(np.int64)


def cost_of(ranks: Ranks, prices: Ranks) -> int:
    """Cost of ranks (M, n) at ``prices`` (M,) per slot, exact."""
    return sum(int(row.sum()) * int(price) for row, price in zip(ranks, prices, strict=True))
