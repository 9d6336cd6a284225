"""Leading singular triples of a product of matrices, exact to rounding, as plain tensors.

The sure way to those of ``b @ a`` is Householder's QR of ``b`` and ``aᵀ`` and the SVD of the
n x n core between the triangles. Where no column of ``b`` and no row of ``a`` is close to a
combination of others, Cholesky's factors of the Gram matrices are the same triangles for
about half the time, off by the rounding times the square of the condition: Fukaya et al.,
"CholeskyQR2: A Simple and Communication-Avoiding Algorithm for Computing a Tall-Skinny QR
Factorization on a Large-Scale Parallel System", ScalA 2014, doi 10.1109/ScalA.2014.11. Either
way the last step is an SVD of the product itself, projected (Rayleigh and Ritz).

Everything is in float64. Triples are (left, values, right): (d_out, r), (r,), (r, d_in).
"""

from collections.abc import Sequence
from typing import TypeAlias

import torch
from torch import Tensor
from torch.nn.functional import pad

SPARE = 8  # eigenvectors beyond those that are wanted
BLOCK = 256  # rows of a Gram matrix that are not cut again
NEAREST = 1e-2  # sine between a column and the others; below it Gram matrices lose digits
FAINTEST = 1e-5  # of the largest singular value; below it a Gram matrix does not tell them apart

SVD: TypeAlias = tuple[Tensor, Tensor, Tensor]


def product_svd(b: Tensor, a: Tensor, count: int) -> tuple[SVD, float]:
    """Return the ``count`` leading triples of ``b @ a``, and its squared Frobenius norm.

    Args:
        b: (d_out, n).
        a: (n, d_in), n below d_in and d_out.
        count: triples wanted.

    Example:
        >>> b = torch.tensor([[3.0], [4.0]]).double()
        >>> (_, values, _), norm = product_svd(b, torch.tensor([[0.0, -2.0, 0.0]]).double(), 1)
        >>> values, norm
        (tensor([10.], dtype=torch.float64), 100.0)
    """
    found = _leading_space(b, a, count)
    if found is None:
        return _by_reflections(b, a, count)
    basis, norm = found
    return within(basis, (b, a), count), norm


def matrix_svd(matrix: Tensor, count: int) -> SVD:
    """Return the ``count`` leading triples of a matrix, faster where few are wanted.

    Eigenvectors of the Gram matrix know large values better than small ones. One power
    iteration with the matrix itself and the SVD of what it projects to even that out.
    """
    if matrix.shape[0] > matrix.shape[1]:
        left, values, right = matrix_svd(matrix.T, count)
        return right.T, values, left.T
    vectors = _eigenvectors(matrix, count)
    if vectors is None:
        left, values, right = torch.linalg.svd(matrix, full_matrices=False)
        return left[:, :count], values[:count], right[:count]
    return within(orthonormal(matrix @ (matrix.T @ vectors)), (matrix,), count)


def within(basis: Tensor, matrices: Sequence[Tensor], count: int) -> SVD:
    """Return the ``count`` leading singular triples of a product projected onto a basis.

    Args:
        basis: (d_out, k), orthonormal columns.
        matrices: the product's, from the left to the right.
        count: k at most.
    """
    core = basis.T
    for matrix in matrices:
        core = core @ matrix
    left, values, right = torch.linalg.svd(core, full_matrices=False)
    return basis @ left[:, :count], values[:count], right[:count]


def orthonormal(columns: Tensor) -> Tensor:
    """Return an orthonormal basis of the span of columns, of the same shape."""
    basis: Tensor = torch.linalg.qr(columns).Q
    return basis


def _by_reflections(b: Tensor, a: Tensor, count: int) -> tuple[SVD, float]:
    """As ``product_svd``, whatever the condition of ``b`` and ``a``."""
    d_out, n, d_in = *b.shape, a.shape[1]
    b_reflectors, b_scales = torch.geqrf(b)
    a_reflectors, a_scales = torch.geqrf(a.T)
    core = b_reflectors[:n].triu() @ a_reflectors[:n].triu().T
    left, values, right = matrix_svd(core, count)
    # Q times a few columns; forming Q would cost as much as the factorisation did
    left = torch.ormqr(b_reflectors, b_scales, pad(left, (0, 0, 0, d_out - n)))
    right = torch.ormqr(a_reflectors, a_scales, pad(right.T, (0, 0, 0, d_in - n)))
    return (left, values, right.T), float(core.square().sum())


def _leading_space(b: Tensor, a: Tensor, count: int) -> tuple[Tensor, float] | None:
    """Return an orthonormal basis of the ``count + SPARE`` leading left vectors of ``b @ a``.

    And the squared Frobenius norm, which is that of the core.

    With ``bᵀ b = L_b L_bᵀ`` and ``a aᵀ = L_a L_aᵀ`` the core is ``L_bᵀ L_a``. One power
    iteration, ``b a aᵀ L_b`` times the eigenvectors, puts the basis into the range of ``b``.

    Returns:
        None where digits would be lost (near columns, faint values), or too many are wanted.
    """
    if count + SPARE > b.shape[1] // 2:
        return None
    lower_b = _cholesky(_gram(b.T))
    if lower_b is None:
        return None
    gram_a = _gram(a)
    lower_a = _cholesky(gram_a)
    if lower_a is None:
        return None
    core = lower_b.T @ lower_a
    vectors = _eigenvectors(core, count)
    if vectors is None:
        return None
    return orthonormal(b @ (gram_a @ (lower_b @ vectors))), float(core.square().sum())


def _cholesky(gram: Tensor) -> Tensor | None:
    """Return the lower Cholesky factor; None where columns are nearer than ``NEAREST``."""
    lower, failed = torch.linalg.cholesky_ex(gram)
    if failed:
        return None
    # the sine of the angle of column j with the span of the others is (G_jj (G⁻¹)_jj)^(-1/2)
    inflation = gram.diagonal() * torch.cholesky_inverse(lower).diagonal()
    return lower if inflation.max() < NEAREST**-2 else None


def _eigenvectors(matrix: Tensor, count: int) -> Tensor | None:
    """Return the ``count + SPARE`` leading ones of ``matrix @ matrix.T``, the largest first.

    Returns:
        None where the last wanted value is faint, or too many are wanted to save time.
    """
    columns = count + SPARE
    if columns > len(matrix) // 2:
        return None
    values, vectors = torch.linalg.eigh(_gram(matrix))
    leading: Tensor = vectors[:, -columns:].flip(1)
    return None if values[-count] <= FAINTEST**2 * values[-1] else leading


def _gram(rows: Tensor) -> Tensor:
    """Return ``rows @ rows.T``, of each block off the diagonal only one side."""
    if len(rows) <= BLOCK:
        return rows @ rows.T
    top, bottom = rows.tensor_split(2)
    corner = top @ bottom.T
    upper = torch.cat([_gram(top), corner], dim=1)
    return torch.cat([upper, torch.cat([corner.T, _gram(bottom)], dim=1)])
