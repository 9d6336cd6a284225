"""TOPSIS: closeness to the best and distance from the worst client.

Hwang, Yoon, "Multiple Attribute Decision Making", Springer 1981, chapter 3.

With v_ij = w_j x_ij / norm_j, v+ and v- the best and worst value of each column, and d+,
d- the Euclidean distances to them, the score is d- / (d+ + d-). The textbook's norm is
the vector norm. It is computed here from each value's position u between the column's
worst (0) and best (1) and the column's reach k_j = w_j (max - min) / norm_j, which is
the same number, cannot overflow, and never scores a dominated client higher, not even in
the last bit.
"""

from typing import Literal, get_args

import numpy as np
from numpy.typing import ArrayLike

from polyrank.errors import DataError, SettingsError, ShapeError
from polyrank.mcda.columns import Floats, UnitColumn, as_benefit, as_matrix, unit_column

Normalisation = Literal["vector", "minmax", "none"]


def topsis(
    matrix: ArrayLike,
    weights: ArrayLike,
    *,
    benefit: ArrayLike | None = None,
    normalisation: Normalisation = "vector",
) -> Floats:
    """Score clients by closeness to the best value of every criterion.

    Args:
        matrix: (n, J) values, one row a client, one column a criterion.
        weights: (J,) non-negative criterion weights, not all 0; their scale is free.
        benefit: (J,) booleans, False where smaller is better; all True by default.
        normalisation: ``"vector"`` divides a column by its Euclidean norm (textbook),
            ``"minmax"`` by its range, ``"none"`` by nothing.

    Returns:
        Scores (n,) in [0, 1], higher is better; 0.5 for all where clients do not differ.

    Raises:
        ShapeError: shapes do not fit together.
        DataError: a value or weight is not finite, or a weight is negative.
        SettingsError: an unknown normalisation.

    Example:
        >>> topsis([[1.0, 2.0], [3.0, 4.0]], [0.5, 0.5]).tolist()
        [0.0, 1.0]
    """
    to_best, to_worst, _ = _distances(matrix, weights, benefit, normalisation, terms=False)
    # 1 / (1 + d+/d-) keeps the order of the distances in floating point; d-/(d+ + d-) does not.
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = np.sqrt(to_best) / np.sqrt(to_worst)
    scores: Floats = 1 / (1 + ratio)
    scores[(to_best == 0) & (to_worst == 0)] = 0.5
    return scores


def balance(
    matrix: ArrayLike,
    weights: ArrayLike,
    *,
    benefit: ArrayLike | None = None,
    normalisation: Normalisation = "vector",
) -> Floats:
    """Tell what each criterion did to each client's TOPSIS score.

    Criterion j adds g_ij to d-^2 and h_ij to d+^2 of client i; its balance is
    (g_ij - h_ij) / (d+_i^2 + d-_i^2). A client's balances add up to
    (d-^2 - d+^2) / (d-^2 + d+^2), which is above 0 exactly where its score is above 0.5.
    It accounts for the distances; it is not what the score would be without the criterion.

    Args, errors: as in ``topsis``.

    Returns:
        (n, J) in [-1, 1]: above 0 where the criterion lifted the client, below 0 where
        it lowered it, 0 throughout where clients do not differ.
    """
    to_best, to_worst, terms = _distances(matrix, weights, benefit, normalisation, terms=True)
    total = to_best + to_worst
    total[total == 0] = 1.0
    terms /= total[:, None]
    return terms


def _distances(
    matrix: ArrayLike,
    weights: ArrayLike,
    benefit: ArrayLike | None,
    normalisation: Normalisation,
    *,
    terms: bool,
) -> tuple[Floats, Floats, Floats]:
    """Squared distances d+ (n,), d- (n,) and their difference by criterion (n, J or 0)."""
    values = as_matrix(matrix)
    count, width = values.shape
    weight = _checked_weights(weights, width)
    better = as_benefit(benefit, width)
    columns = [unit_column(values[:, j]) for j in range(width)]
    reach = _reach(columns, weight, normalisation)
    to_best, to_worst = np.zeros(count), np.zeros(count)
    difference = np.zeros((count, width if terms else 0))
    for j in np.flatnonzero(reach):
        unit = columns[j].unit
        far, near = (1 - unit, unit) if better[j] else (unit, 1 - unit)
        gain, loss = np.square(near * reach[j]), np.square(far * reach[j])
        to_worst += gain
        to_best += loss
        if terms:
            difference[:, j] = gain - loss
    return to_best, to_worst, difference


def _reach(columns: list[UnitColumn], weight: Floats, normalisation: Normalisation) -> Floats:
    """How far each weighted column reaches (J,), the largest scaled to 1."""
    if normalisation not in get_args(Normalisation):
        raise SettingsError(
            f"normalisation: expected one of {', '.join(get_args(Normalisation))}, "
            f"got {normalisation!r}"
        )
    spread = np.array([column.spread for column in columns])
    weight = np.where(spread > 0, weight, 0.0)
    weight = weight / (weight.max() or 1.0)
    if normalisation == "minmax":
        return weight
    if normalisation == "vector":
        norm = np.array([column.norm for column in columns])
        reach = weight * spread / np.where(norm > 0, norm, 1.0)
    else:
        exponent = np.array([column.exponent for column in columns])
        used = exponent[weight > 0]
        reach = np.ldexp(weight * spread, exponent - (used.max() if used.size else 0))
        reach[weight == 0] = 0.0
    scaled: Floats = reach / (reach.max() or 1.0)
    return scaled


def _checked_weights(weights: ArrayLike, width: int) -> Floats:
    weight = np.asarray(weights, dtype=np.float64)
    if weight.shape != (width,):
        raise ShapeError(f"expected {width} criterion weights, got shape {weight.shape}")
    if not np.isfinite(weight).all() or (weight < 0).any() or not weight.any():
        raise DataError(
            "expected finite criterion weights >= 0 that are not all 0, "
            f"got {', '.join(map(str, weight.tolist()))}"
        )
    return weight
