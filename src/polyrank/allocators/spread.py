"""Scores to ranks: min-max within each module's range, under caps and a budget.

Without a budget this is AutoRank's mapping (Chen, Tavallaie, Nazemi, Chen, Zomaya, 2024,
https://arxiv.org/abs/2412.15553): r = round(r_min + s (r_max - r_min)) with
s = (C - min C) / (max C - min C). Ours: half rounds to even; clients that are all alike
have s = 0.5; a client's cap wins; and where clients differ little, s is drawn to 0.5, to a
given share of its distance from there.

The budget is ours too. One number tau in [0, 2] sets how generous the mapping is: the
level of a client is s tau for tau <= 1 and s + (1 - s)(tau - 1) above, its rank
floor(r_min + level (r_max - r_min)). Ranks grow with tau, from everyone at r_min (0)
over the scores themselves (1) to everyone at r_max (2). The largest affordable tau is
found by bisection; the slots that come next are then handed out one by one.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from polyrank.allocators.choice import Evidence, Floats
from polyrank.allocators.limits import Limits, Ranks, cost_of
from polyrank.errors import BudgetError

ALIKE = 1e-12  # scores closer than this differ by rounding only
BISECTIONS = 52  # of an interval of length 2: down to the spacing of floats near 1


@dataclass(frozen=True)
class Spread:
    """Ranks by module (M, n), and what held them: see ``Choice.capped`` and ``Choice.pull``."""

    ranks: Ranks
    capped: NDArray[np.bool_]
    pull: NDArray[np.int8]


def unit_scores(scores: Floats) -> Floats:
    """Scale scores (n,) to [0, 1]; all alike, or one client, give 0.5."""
    low, high = scores.min(), scores.max()
    if high - low <= ALIKE:
        return np.full(len(scores), 0.5)
    unit: Floats = (scores - low) / (high - low)
    return unit


def spread(
    scores: Floats,
    turn: NDArray[np.intp],
    evidence: Evidence,
    limits: Limits,
    share: float = 1.0,
) -> Spread:
    """Map scores to ranks.

    The budget is never exceeded, and less than one affordable slot is left unspent unless
    all ranks are at their caps. Among clients with equal caps a better score never gets a
    smaller rank, in any module. The order in which clients are given does not matter.

    Args:
        scores: (n,) finite, higher is better.
        turn: permutation (n,) of the clients; of two with equal scores, the one that comes
            first in it gets a spare slot first.
        evidence: names the clients.
        limits: ranges, budget and caps.
        share: how much of each module's range is used, around its middle, from 0 to 1.

    Raises:
        BudgetError: the budget is below the cost of the least ranks.
        SettingsError: a cap is below 1.
    """
    unit = unit_scores(scores)
    if share < 1:
        unit = 0.5 + share * (unit - 0.5)
    ranges = list(limits.modules.values())
    lower, upper = limits.bounds(evidence.clients)
    free = np.stack([np.rint(m.r_min + unit * (m.r_max - m.r_min)) for m in ranges])
    plain: Ranks = np.clip(free.astype(np.int64), lower, upper)
    if limits.budget is None:
        return Spread(plain, np.any(free > upper, axis=0), np.zeros(len(unit), np.int8))
    limits.check_cost(lower, evidence.clients, "the least ranks")
    best_first = turn[np.argsort(-scores[turn], kind="stable")]
    ladder = _Ladder(unit, best_first, lower, upper, limits)
    ladder.climb()
    pull = np.sign((ladder.ranks - plain).sum(axis=0)).astype(np.int8)
    return Spread(ladder.ranks, ladder.capped(), pull)


class _Ladder:
    """Ranks (M, n) on their way up from the least ones, as far as the budget goes."""

    def __init__(
        self, unit: Floats, turn: NDArray[np.intp], lower: Ranks, upper: Ranks, limits: Limits
    ) -> None:
        if limits.budget is None:
            raise BudgetError("expected a budget to spend, got none")
        self.unit, self.upper, self.ranks = unit, upper, lower
        self.ranges, self.prices = list(limits.modules.values()), limits.prices()
        self.left = limits.budget.total(len(unit), len(lower)) - cost_of(lower, self.prices)
        self.tau = np.zeros(len(lower))  # per module; modules too dear for what is left stay behind
        self.place = np.empty(len(turn), np.intp)
        self.place[turn] = np.arange(len(turn))

    def climb(self) -> None:
        """Spend the budget; each pass ends with at least one more module done."""
        while rows := self._affordable():
            missing = cost_of(self.upper[rows] - self.ranks[rows], self.prices[rows])
            if missing <= self.left:
                self.ranks[rows], self.tau[rows] = self.upper[rows], 2.0
                self.left -= missing
            else:
                self._hand_out(rows, self._bisect(rows))

    def capped(self) -> NDArray[np.bool_]:
        """Clients (n,) that a cap holds below the rank their module's tau gives."""
        asked = np.stack([self._asked(row, tau) for row, tau in enumerate(self.tau)])
        held: NDArray[np.bool_] = np.any(asked > self.upper, axis=0)
        return held

    def _affordable(self) -> list[int]:
        """Modules with room for a slot that the rest of the budget covers."""
        rows = np.flatnonzero(self.prices <= self.left)
        return [int(row) for row in rows if (self.ranks[row] < self.upper[row]).any()]

    def _asked(self, row: int, tau: float) -> Ranks:
        """Ranks (n,) of one module at ``tau``, caps aside.

        Every operation keeps the order of scores and of taus in floating point too.
        """
        if tau <= 1:
            level: Floats = self.unit * tau
        else:
            level = np.maximum(self.unit, 1 - (1 - self.unit) * (2 - tau))
        level *= self.ranges[row].r_max - self.ranges[row].r_min
        level += self.ranges[row].r_min
        ranks: Ranks = level.astype(np.int64)
        return ranks

    def _at(self, row: int, tau: float) -> Ranks:
        allowed = np.minimum(self._asked(row, tau), self.upper[row])
        ranks: Ranks = np.maximum(allowed, self.ranks[row])
        return ranks

    def _bisect(self, rows: list[int]) -> float:
        """Move to the largest affordable tau; return the smallest one tried that is too dear."""
        low, high = float(self.tau[rows].max()), 2.0
        start = cost_of(self.ranks[rows], self.prices[rows])
        for _ in range(BISECTIONS):
            middle = (low + high) / 2
            cost = sum(int(self._at(row, middle).sum()) * int(self.prices[row]) for row in rows)
            low, high = (middle, high) if cost - start <= self.left else (low, middle)
        for row in rows:
            self.ranks[row], self.tau[row] = self._at(row, low), low
        self.left -= cost_of(self.ranks[rows], self.prices[rows]) - start
        return high

    def _hand_out(self, rows: list[int], high: float) -> None:
        """Give single slots on the way to ``high``: better score first, then the turn."""
        ahead = [np.flatnonzero(self._at(row, high) > self.ranks[row]) for row in rows]
        client = np.concatenate(ahead)
        module = np.repeat(rows, [len(some) for some in ahead])
        order = np.lexsort((module, self.place[client], -self.unit[client]))
        spent = np.cumsum(self.prices[module[order]])
        count = int(np.searchsorted(spent, self.left, side="right"))
        given = order[:count]
        self.ranks[module[given], client[given]] += 1
        self.left -= int(spent[count - 1]) if count else 0
