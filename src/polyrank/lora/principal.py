"""A product of matrices as a sum of orthogonal parts, the largest first, at a fraction of an SVD.

One QR, of the side with fewer numbers, leaves rows whose Gram matrix has the squared singular
values as eigenvalues. A value below 1e-8 of the largest drowns in the rounding of its square,
which cuts that go by shares of the squared norm never see; the parts add up to the product
whatever the values are, since each is a projection of it. Triples that must be right to the last
digit come from ``polyrank.lora.exact_svd``.
"""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import pad


@dataclass(frozen=True)
class Principal:
    """A product ``b @ a`` as ``sum_i l_i r_i``: orthonormal columns times orthogonal rows.

    Args:
        energy: (n,), ``|r_i|²``, falling, above 0: the squared singular values.
    """

    energy: Tensor
    _vectors: Tensor  # (n, n), of the Gram matrix
    _rows: Tensor
    _reflectors: tuple[Tensor, Tensor] | None
    _turned: bool

    def between(self, start: int, stop: int) -> tuple[Tensor, Tensor]:
        """Return parts start .. stop-1: (d_out, r), orthonormal, and (r, d_in)."""
        vectors = self._vectors[:, start:stop]
        right = vectors.T @ self._rows
        left = vectors
        if self._reflectors:
            reflectors, scales = self._reflectors
            below = len(reflectors) - len(vectors)
            left = torch.ormqr(reflectors, scales, pad(vectors, (0, 0, 0, below)))
        if self._turned:
            norms = right.norm(dim=1)
            return right.T / norms, left.T * norms[:, None]
        return left, right


def principal(b: Tensor, a: Tensor) -> Principal:
    """Return the parts of ``b @ a``, float64, (d_out, n) and (n, d_in).

    From n = min(d_in, d_out) on the product is multiplied out, for then it is the smaller one.

    Example:
        >>> b = torch.tensor([[3.0], [4.0]]).double()
        >>> parts = principal(b, torch.tensor([[0.0, -2.0, 0.0]]).double())
        >>> parts.energy, parts.between(0, 1)[1].abs()
        (tensor([100.], dtype=torch.float64), tensor([[ 0., 10.,  0.]], dtype=torch.float64))
    """
    turned = len(b) > a.shape[1]
    if turned:
        b, a = a.T, b.T
    if b.shape[1] < len(b):
        reflectors = torch.geqrf(b)
        rows = reflectors[0][: b.shape[1]].triu() @ a
    else:
        reflectors, rows = None, b @ a
    values, vectors = torch.linalg.eigh(rows @ rows.T)
    kept = int((values > 0).sum())  # those of rank-deficient rows are rounding, of either sign
    order = torch.arange(len(values) - 1, len(values) - 1 - kept, -1)
    return Principal(values[order], vectors[:, order], rows, reflectors, turned)
