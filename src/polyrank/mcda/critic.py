"""CRITIC: criterion weights from contrast and conflict.

Diakoulaki, Mavrotas, Papayannakis, "Determining objective weights in multiple criteria
problems: The CRITIC method", Computers & Operations Research 22(7), 1995, 763-770.

Ours, where the paper's formula is 0 / 0: a constant column has weight 0 and takes no
part in the others' conflict; when no conflict is left (one column that varies, or all
that vary agree perfectly), those that vary share the weight equally; when all columns
are constant, or there is one client, all are equal.
"""

import numpy as np
from numpy.typing import ArrayLike

from polyrank.errors import DataError, ShapeError
from polyrank.mcda.columns import CONSTANT, Floats, as_benefit, as_matrix, unit_column


def critic(
    matrix: ArrayLike, *, benefit: ArrayLike | None = None, stretch: ArrayLike | None = None
) -> Floats:
    """Weigh criteria by their spread and by how little they agree with the others.

    With columns min-max scaled, c_j = sigma_j * sum_k (1 - rho_jk), w_j = c_j / sum c.

    Args:
        matrix: (n, J) values, one row a client, one column a criterion.
        benefit: (J,) booleans, False where smaller is better; all True by default. As in
            the paper, columns point from worst to best before they are correlated.
        stretch: (J,) from 0 to 1, how much of a criterion's contrast and conflict counts; a
            column of 0 counts as constant. All 1 by default, which is the paper's.

    Returns:
        Weights (J,), non-negative, sum 1, never NaN.

    Raises:
        ShapeError: not a matrix, or empty, or ``benefit`` or ``stretch`` does not fit.
        DataError: a value is not finite, or a stretch is not from 0 to 1.

    Example:
        >>> critic([[0, 1, 7], [1, 0, 7]]).tolist()
        [0.5, 0.5, 0.0]
    """
    values = as_matrix(matrix)
    columns = [unit_column(values[:, j]) for j in range(values.shape[1])]
    better = as_benefit(benefit, len(columns))
    kept = _checked_stretch(stretch, len(columns))
    varies = np.array([column.spread > 0 for column in columns]) & (kept > 0)
    if not varies.any():
        return np.full(len(columns), 1 / len(columns))
    unit = np.stack([columns[j].unit for j in np.flatnonzero(varies)])
    unit[~better[varies]] *= -1
    weights = np.zeros(len(columns))
    weights[varies] = _contrast_and_conflict(unit, kept[varies])
    return weights


def _contrast_and_conflict(unit: Floats, stretch: Floats) -> Floats:
    """Weights (V,) of columns (V, n) that all vary; ``unit`` is overwritten.

    Of columns stretched by t_j the contrast is t_j sigma_j, and the conflict of two counts by
    t_j t_k: as t_j goes to 0, the weights go to those without column j.
    """
    unit -= unit.mean(axis=1, keepdims=True)
    products = unit @ unit.T
    # The divisor n or n - 1 of sigma cancels in w.
    sigma = np.sqrt(np.diag(products))
    conflict = 1 - products / np.outer(sigma, sigma)
    conflict[conflict < CONSTANT] = 0.0
    np.fill_diagonal(conflict, 0.0)
    c = stretch * sigma * (conflict * np.outer(stretch, stretch)).sum(axis=1)
    shared = c if c.sum() > 0 else np.square(stretch)
    weights: Floats = shared / shared.sum()
    return weights


def _checked_stretch(stretch: ArrayLike | None, width: int) -> Floats:
    kept = np.ones(width) if stretch is None else np.asarray(stretch, dtype=np.float64)
    if kept.shape != (width,):
        raise ShapeError(f"expected {width} stretches, got shape {kept.shape}")
    if not ((kept >= 0) & (kept <= 1)).all():
        raise DataError(f"expected stretches from 0 to 1, got {', '.join(map(str, kept.tolist()))}")
    return kept
