"""How much rank a client needs, read off a sweep, and how well an order of clients agrees."""

import math
from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise

import numpy as np
import torch
from scipy.stats import kendalltau
from torch import Tensor

from polyrank.lora.factors import Factors
from polyrank.lora.low_rank import leading_triples

SHARE = 0.95  # of what the largest rank reaches


def needed(reached: Mapping[int, float], share: float = SHARE) -> float:
    """Return the smallest rank from which on all ranks reach a share of what the largest one does.

    Between two measured ranks it is read off the line through them over log2 of the rank, so that
    clients whose needs differ by less than the grid's step can still be ordered.

    Args:
        reached: rank -> facts recalled, accuracy, or whatever is larger for better.
        share: from 0 to 1.

    Example:
        >>> needed({1: 0.2, 2: 0.5, 4: 1.0, 8: 1.0}, 0.75), needed({1: 0.96, 2: 1.0})
        (2.8284271247461903, 1.0)
    """
    ranks = sorted(reached)
    wanted = share * reached[ranks[-1]]
    for below, rank in reversed(list(pairwise(ranks))):
        if reached[below] < wanted:
            part = (wanted - reached[below]) / (reached[rank] - reached[below])
            return float(2 ** (math.log2(below) + part * math.log2(rank / below)))
    return float(ranks[0])


def on_grid(reached: Mapping[int, float], share: float = SHARE) -> int:
    """Return the same, of the ranks that were measured."""
    exact = needed(reached, share)
    return min(rank for rank in reached if rank >= exact * (1 - 1e-12))


def agreement(order: Sequence[float], need: Sequence[float]) -> float | None:
    """Return Kendall's tau-b of an order of clients with what they need; None of a constant.

    Example:
        >>> agreement([1, 2, 3], [10, 20, 30]), agreement([5, 5, 5], [1, 2, 3])
        (1.0, None)
    """
    if not np.ptp(order) or not np.ptp(need):
        return None
    return float(kendalltau(order, need).statistic)


def input_root(inputs: Tensor) -> Tensor:
    """Return L (d_in, d_in) with L L^T the mean of x x^T over inputs (n, d_in)."""
    moment = inputs.double().T @ inputs.double() / len(inputs)
    values, vectors = torch.linalg.eigh(moment)
    return vectors * values.clamp(min=0).sqrt()


def effective_rank(values: Tensor) -> float:
    """Return exp of the entropy of shares s_i^2 / sum s^2, from 1 for one triple to r for r alike.

    Roy and Vetterli, "The effective rank", EUSIPCO 2007, with energies for values.

    Example:
        >>> round(effective_rank(torch.tensor([3.0, 3.0, 0.0])), 6)
        2.0
    """
    energy = values.double().square()
    shares = energy[energy > 0] / energy.sum()
    return float(torch.exp(-(shares * shares.log()).sum())) if len(shares) else 0.0


def weighted_values(update: Factors, root: Tensor | None = None) -> Tensor:
    """Return the singular values of b a L: what an update does to the inputs that there are.

    From a QR of the factors and the SVD of a small core.

    Args:
        update: ``a`` (r, d_in), ``b`` (d_out, r).
        root: L (d_in, d_in), of ``input_root``; without it those of b a.
    """
    a = update.a.double() if root is None else update.a.double() @ root
    return leading_triples((update.b, a), update.rank).values


def mean_spread(values: Iterable[float | None]) -> tuple[float, float] | None:
    """Return mean and sample standard deviation of what was measured; None of nothing."""
    known = [value for value in values if value is not None]
    if not known:
        return None
    return float(np.mean(known)), float(np.std(known, ddof=1)) if len(known) > 1 else 0.0
