"""Checked decision matrices and their columns scaled to [0, 1].

CRITIC and TOPSIS both start from a column's position between its smallest and largest
value. A column whose range is below 1e-12 of its largest magnitude counts as constant:
what is left there is rounding noise (the entropies of two shuffled histograms differ in
the last bit), and scaling would blow it up to a full criterion.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from polyrank.errors import DataError, ShapeError

CONSTANT = 1e-12

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class UnitColumn:
    """One column of a decision matrix, scaled.

    Args:
        unit: (n,) position between the column's minimum (0) and maximum (1); 0 if constant.
        spread: maximum minus minimum, in units of ``2 ** exponent``; 0 if constant.
        norm: Euclidean norm of the column in the same units.
        exponent: keeps ``spread`` and ``norm`` finite for values near the float limits.
    """

    unit: Floats
    spread: float
    norm: float
    exponent: int


def as_matrix(matrix: ArrayLike) -> Floats:
    """Return ``matrix`` as float64 (n, J), n and J at least 1, every value finite.

    Raises:
        ShapeError: not two-dimensional, or without rows or columns.
        DataError: a value is NaN or infinite; the message names its row and column.
    """
    values = np.asarray(matrix, dtype=np.float64)
    if values.ndim != 2 or 0 in values.shape:
        raise ShapeError(
            f"expected a matrix of clients by criteria (n, J) with n, J >= 1, got {values.shape}"
        )
    for j in range(values.shape[1]):
        finite = np.isfinite(values[:, j])
        if not finite.all():
            row = int(np.argmin(finite))
            raise DataError(
                f"expected finite numbers, got {values[row, j]} in row {row}, column {j} "
                "(both from 0)"
            )
    return values


def as_benefit(benefit: ArrayLike | None, width: int) -> NDArray[np.bool_]:
    """Return (J,) booleans, True where larger is better; None means all.

    Raises:
        ShapeError: not J booleans.
    """
    better = np.ones(width, dtype=bool) if benefit is None else np.asarray(benefit)
    if better.shape != (width,) or better.dtype != np.bool_:
        raise ShapeError(
            f"expected {width} booleans in benefit, got shape {better.shape} of {better.dtype}"
        )
    return better


def unit_column(values: Floats) -> UnitColumn:
    """Scale one column (n,) of finite values to [0, 1], whatever its magnitude."""
    low, high = float(values.min()), float(values.max())
    _, exponent = np.frexp(max(abs(low), abs(high)))
    scaled = np.ldexp(values, -exponent)  # a power of two: exact, and no square overflows
    bottom, top = float(np.ldexp(low, -exponent)), float(np.ldexp(high, -exponent))
    norm = float(np.sqrt(scaled @ scaled))
    spread = top - bottom
    if spread <= CONSTANT * max(abs(bottom), abs(top)):
        return UnitColumn(np.zeros_like(scaled), 0.0, norm, int(exponent))
    scaled -= bottom
    scaled /= spread
    return UnitColumn(scaled, spread, norm, int(exponent))
