"""A change of a module, cut to the rank that it needs, and what is left of it.

With a client's factors before and after training, ``D = b' a' - b a`` has rank 2 r at most. What
was left of earlier changes is added to it, the sum is cut to the fewest singular triples that
hold a share of its squared norm, and the rest is left for the next time, so that nothing is
lost for good: error feedback, as in Vogels, Karimireddy, Jaggi, "PowerSGD: Practical Low-Rank
Gradient Compression for Distributed Optimization", 2019, https://arxiv.org/abs/1905.13727, and
Karimireddy et al., "Error Feedback Fixes SignSGD and other Gradient Compression Schemes", 2019,
https://arxiv.org/abs/1901.09847. All of it is done with factors, and no matrix of the module's
size is made unless their columns pass its smaller side.

Ours: a share of the norm in place of a fixed rank, so that the rank says what a client needs.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

import torch
from torch import Tensor

from polyrank.lora.factors import Factors, prefix, product_norm
from polyrank.lora.low_rank import Product, stacked, summed
from polyrank.lora.principal import Principal, principal

Rejoin: TypeAlias = Callable[[Product, Factors], Factors]
FEW = 8  # triples that are left for the next time, and half as many as slots were trained
NOISE = 1e-6  # of the norm of the factors before training; a smaller change is their rounding


@dataclass(frozen=True)
class CutChange:
    """A change in two parts.

    Args:
        sent: the leading triples, balanced: ``a`` (r, d_in), ``b`` (d_out, r), slots 0 .. r-1.
        left: the next ones, as factors too.
        share: of the squared norm of the change that ``sent`` holds; 1 of a change of 0.
    """

    sent: Factors
    left: Factors
    share: float


def cut_change(
    before: Factors,
    after: Factors,
    owed: tuple[Factors, float] | None = None,
    *,
    error: float,
    most: int,
) -> CutChange:
    """Cut what training has changed to the smallest rank that loses at most a share of it.

    ``D = b' a' - b a + w b_o a_o = U S Vᵀ``; r is the smallest with
    ``sum_{i>r} s_i² <= error sum_i s_i²``, at most ``most``.

    Args:
        before: the factors as training began, ``a`` (n, d_in), ``b`` (d_out, n).
        after: as it ended.
        owed: what was left of earlier changes, and the weight w with which it is added.
        error: share of the squared norm that may be left, from 0 to below 1.
        most: the largest rank that is sent.

    Returns:
        what is sent; and what is left, at most n/2 + 8 triples, of which the smallest are dropped:
        more of them cost a client time and memory and gain nothing that was measured.

    Example:
        >>> before = Factors(torch.eye(2), torch.zeros(2, 2), prefix(2))
        >>> after = Factors(torch.eye(2), torch.diag(torch.tensor([3.0, 1.0])), prefix(2))
        >>> cut = cut_change(before, after, error=0.2, most=2)
        >>> cut.sent.rank, cut.left.rank, round(cut.share, 3)
        (1, 1, 0.9)
    """
    new, old = after.folded(), before.folded()
    live = old.b.any(dim=0)  # slots that began empty need no columns
    terms = [(new.b, new.a, 1.0), (old.b[:, live], old.a[live], -1.0)]
    if owed is not None:
        terms.append((owed[0].b, owed[0].a, owed[1]))
    product = stacked(terms, new.a.shape[1], new.b.shape[0])
    parts = principal(*product)
    energy = parts.energy
    norm = float(energy.sum())
    if norm <= (NOISE * product_norm(old)) ** 2:
        energy, norm = energy[:0], 0.0
    rank = _needed(energy, norm, error)
    sent = min(rank, most)
    kept = len(energy) if error else rank  # without an error only the noise is beyond the rank
    return CutChange(
        _balanced(parts, 0, sent, new),
        _balanced(parts, sent, min(kept, sent + FEW + new.rank // 2), new),
        min(1.0, float(energy[:sent].sum()) / norm) if norm else 1.0,
    )


def with_rounding(left: Factors, sent: Factors, came: Factors) -> Factors:
    """Add to what is left what rounding loses of the triples that are sent.

    ``b a - b̂ â = (b - b̂) a + b̂ (a - â)``, twice as many pairs as were sent; the next cut makes
    them fewer again.

    Args:
        left: of the change.
        sent: before rounding.
        came: after it, ``b̂`` and ``â``.
    """
    b = torch.cat([left.b, sent.b - came.b, came.b], dim=1)
    a = torch.cat([left.a, sent.a, sent.a - came.a])
    return Factors(a, b, prefix(len(a)))


def moved(start: Factors, change: Factors, slots: int, rejoin: Rejoin) -> Factors:
    """Return factors of ``b a`` plus a change, in so many slots.

    Args:
        start: ``a`` (n, d_in), ``b`` (d_out, n).
        change: of any rank.
        slots: of the result; if they are n and the change has rank 0, it is ``start``.
        rejoin: makes factors of a product, like others.
    """
    if not change.rank and slots == start.rank:
        return start
    terms = [(f.b.double(), f.a.double()) for f in (start, change)]
    a, b = start.a.new_zeros(slots, start.a.shape[1]), start.b.new_zeros(len(start.b), slots)
    return rejoin(summed([(product, 1.0) for product in terms]), Factors(a, b, prefix(slots)))


def _needed(energy: Tensor, norm: float, error: float) -> int:
    """Return how many leading parts leave at most the share ``error`` of the norm."""
    if not norm:
        return 0
    most = max(error, NOISE**2) * norm
    too_much = torch.count_nonzero(norm - energy.cumsum(0) > most)
    return min(energy.numel(), 1 + int(too_much))


def _balanced(parts: Principal, start: int, stop: int, like: Factors) -> Factors:
    left, right = parts.between(start, stop)
    root = parts.energy[start:stop] ** 0.25
    a, b = right / root[:, None], left * root
    return Factors(a.to(like.a.dtype), b.to(like.b.dtype), prefix(len(root)))
