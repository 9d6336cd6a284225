"""Sums of products ``sum_k w_k b_k a_k`` and their singular triples, from the factors.

With n stacked columns below d_in and d_out, nothing of d_out x d_in numbers is formed. Two
ways to the leading triples, both in float64 whatever the factors are in:

- ``leading_triples``: the SVD of the n x n core between the two stacks' triangular factors,
  exact (see ``polyrank.lora.exact_svd``).
- ``randomised_triples``: a range finder with power iterations, faster where n is far above
  the wanted rank. Halko, Martinsson, Tropp, "Finding Structure with Randomness", SIAM
  Review 53, 2011, algorithms 4.4 and 5.1, https://arxiv.org/abs/0909.4061

Signs: in each left vector the entry of largest magnitude, the first of equals, is positive.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

import torch
from torch import Tensor

from polyrank.lora.exact_svd import matrix_svd, orthonormal, product_svd, within
from polyrank.lora.factors import Factors

BLOCK = 256

Term: TypeAlias = tuple[Tensor, Tensor, float | Tensor]
Product: TypeAlias = tuple[Tensor] | tuple[Tensor, Tensor]
Split: TypeAlias = Literal["balanced", "left", "right"]


@dataclass(frozen=True)
class Triples:
    """Singular triples, the largest value first; the matrix is ``left * values @ right``.

    Args:
        left: (d_out, r), orthonormal columns.
        values: (r,), not negative, falling.
        right: (r, d_in), orthonormal rows.
    """

    left: Tensor
    values: Tensor
    right: Tensor


class FactoredSum:
    """A running ``sum_k w_k b_k a_k``, without loss, in memory that does not grow with k.

    The sum has rank min(d_in, d_out) at most. While fewer columns are stacked than that, the
    factors are kept as they came. From there on no form without loss has fewer numbers than
    the d_out x d_in of the sum itself, so the stacks are multiplied out, in float64, and
    later ones with them every ``BLOCK`` columns.

    Args:
        d_in: columns of every ``a``.
        d_out: rows of every ``b``.
    """

    def __init__(self, d_in: int, d_out: int) -> None:
        self.d_in, self.d_out = d_in, d_out
        self._stack: list[Term] = []
        self._columns = 0
        self._dense: Tensor | None = None

    def add(self, b: Tensor, a: Tensor, weight: float | Tensor) -> None:
        """Add ``(b * weight) @ a``, one weight or one a column; tensors are kept, not copied."""
        self._stack.append((b, a, weight))
        self._columns += b.shape[1]
        full = min(self.d_in, self.d_out)
        if self._columns >= (full if self._dense is None else min(full, BLOCK)):
            self._multiply_out()

    def product(self) -> Product:
        """Return the sum in float64: ``b`` (d_out, n) and ``a`` (n, d_in), or the sum itself."""
        if self._dense is None:
            return stacked(self._stack, self.d_in, self.d_out)
        self._multiply_out()
        return (self._dense,)

    def _multiply_out(self) -> None:
        if self._dense is None:
            self._dense = torch.zeros(self.d_out, self.d_in, dtype=torch.float64)
        while self._stack:
            block, columns = [], 0
            while self._stack and columns < BLOCK:
                block.append(self._stack.pop())
                columns += block[-1][0].shape[1]
            self._dense.addmm_(*stacked(block, self.d_in, self.d_out))
        self._columns = 0


def stacked(terms: Sequence[Term], d_in: int, d_out: int) -> tuple[Tensor, Tensor]:
    """Return float64 ``b`` (d_out, n) and ``a`` (n, d_in) with ``b @ a = sum_k (b_k * w_k) @ a_k``.

    Args:
        terms: ``b_k`` (d_out, r_k), ``a_k`` (r_k, d_in), and ``w_k``, a number or one for each
            column (r_k,).
        d_in: columns of every ``a_k``.
        d_out: rows of every ``b_k``.
    """
    b_rows = torch.empty(sum(b.shape[1] for b, _, _ in terms), d_out, dtype=torch.float64)
    a = torch.empty(len(b_rows), d_in, dtype=torch.float64)
    start = 0
    for b_k, a_k, weight in terms:
        stop = start + b_k.shape[1]
        b_rows[start:stop] = (b_k.double() * weight).T
        a[start:stop] = a_k
        start = stop
    return b_rows.T, a


def leading_triples(product: Product, count: int) -> Triples:
    """Return the ``count`` leading singular triples, exact to the rounding of float64.

    ``b = Q_b R_b`` and ``aᵀ = Q_a R_a`` leave the core ``R_b R_aᵀ``, n x n, for the SVD. From
    n = min(d_in, d_out) on the product is multiplied out, for then the core is no smaller.

    Args:
        product: ``(b, a)``, (d_out, n) and (n, d_in), or the matrix alone, (d_out, d_in).
        count: wanted; fewer come back where n, d_in or d_out is smaller.

    Example:
        >>> b, a = torch.tensor([[3.0], [4.0]]), torch.tensor([[0.0, -2.0, 0.0]])
        >>> leading_triples((b, a), 2).values
        tensor([10.], dtype=torch.float64)
    """
    return triples_and_norm(product, count)[0]


def triples_and_norm(product: Product, count: int) -> tuple[Triples, float]:
    """Return what ``leading_triples`` does, and the squared Frobenius norm of the product."""
    matrices = [m.double() for m in product]
    if len(matrices) == 2:
        b, a = matrices
        if b.shape[1] < min(b.shape[0], a.shape[1]):
            found, norm = product_svd(b, a, count)
            return _signed(*found), norm
        matrices = [b @ a]
    return _signed(*matrix_svd(matrices[0], count)), float(matrices[0].square().sum())


def randomised_triples(
    product: Product, count: int, *, oversampling: int = 10, passes: int = 2, seed: int = 0
) -> Triples:
    """Return about the ``count`` leading singular triples, from a random range finder.

    With M the matrix, σ its singular values, p the oversampling and q the passes: the triples
    are exact to rounding where the rank of M is at most count + p. Otherwise, before the last
    cut to ``count``, the expected error in the spectral norm is at most
    ``[1 + sqrt(count/(p-1)) + e sqrt(count+p)/p sqrt(min(d)-count)]^(1/(2q+1)) σ_{count+1}``
    (Halko et al., corollary 10.10), and the cut adds at most σ_{count+1}.

    Args:
        product: ``(b, a)``, (d_out, n) and (n, d_in), or the matrix alone, (d_out, d_in).
        count: wanted; fewer come back where n, d_in or d_out is smaller.
        oversampling: p, columns beyond ``count``.
        passes: q, power iterations.
        seed: of the random start.
    """
    matrices = [m.double() for m in product]
    d_in = matrices[-1].shape[1]
    columns = count + oversampling
    if columns >= min(min(m.shape) for m in matrices):
        return leading_triples(product, count)
    generator = torch.Generator().manual_seed(seed)
    start = torch.randn(d_in, columns, generator=generator, dtype=torch.float64)
    basis = orthonormal(_times(matrices, start))
    transposed = [m.T for m in reversed(matrices)]
    for _ in range(passes):
        basis = orthonormal(_times(matrices, orthonormal(_times(transposed, basis))))
    return _signed(*within(basis, matrices, count))


def numerical_rank(values: Tensor, dtype: torch.dtype, longest: int) -> int:
    """Count the singular values that are above the rounding noise of a sum of factors.

    Noise is what is not above the largest value times the rounding of float32, or in float64
    the rounding of a matrix of that size.

    Args:
        values: (r,), falling.
        dtype: of the factors that were added up.
        longest: the larger one of d_in and d_out.
    """
    if dtype == torch.float64:
        noise = torch.finfo(torch.float64).eps * longest
    else:
        noise = torch.finfo(torch.float32).eps
    return int((values > noise * values[:1]).sum())


def as_factors(triples: Triples, like: Factors, split: Split = "balanced") -> Factors:
    """Turn singular triples into factors in the slots of ``like``, the largest value first.

    Slots beyond ``numerical_rank`` are zero. In SVD form the values are ``e``.

    Args:
        triples: at most as many as ``like`` has slots.
        like: whose slots and types the result has.
        split: where the values go: ``balanced`` b = U √S, a = √S Vᵀ; ``left`` b = U S, a = Vᵀ;
            ``right`` b = U, a = S Vᵀ.
    """
    values = triples.values
    rank = numerical_rank(values, like.a.dtype, max(like.a.shape[1], like.b.shape[0]))
    a = torch.zeros_like(like.a)
    b = torch.zeros_like(like.b)
    if like.e is not None:
        e = torch.zeros_like(like.e)
        a[:rank], b[:, :rank] = triples.right[:rank], triples.left[:, :rank]
        e[:rank, 0] = values[:rank]
        return Factors(a, b, like.slots, e)
    share = {"balanced": 0.5, "left": 1.0, "right": 0.0}[split]
    a[:rank] = triples.right[:rank] * values[:rank, None] ** (1 - share)
    b[:, :rank] = triples.left[:, :rank] * values[:rank] ** share
    return Factors(a, b, like.slots)


def summed(products: Sequence[tuple[Product, float]]) -> Product:
    """Return the sum of products times numbers, at least one."""
    if all(len(product) == 2 for product, _ in products):
        b = torch.cat([product[0] * weight for product, weight in products], dim=1)
        return b, torch.cat([product[-1] for product, _ in products])
    dense = [
        weight * (product[0] if len(product) == 1 else product[0] @ product[-1])
        for product, weight in products
    ]
    return (torch.stack(dense).sum(0),)


def scaled(product: Product, factor: float) -> Product:
    """Return the product times a number."""
    return (product[0] * factor, *product[1:])


def _times(matrices: Sequence[Tensor], columns: Tensor) -> Tensor:
    for matrix in reversed(matrices):
        columns = matrix @ columns
    return columns


def _signed(left: Tensor, values: Tensor, right: Tensor) -> Triples:
    if not values.numel():
        return Triples(left, values, right)
    largest = left.gather(0, left.abs().argmax(dim=0, keepdim=True))[0]
    signs = torch.where(largest < 0, -1.0, 1.0).to(left)
    return Triples(left * signs, values, right * signs[:, None])
