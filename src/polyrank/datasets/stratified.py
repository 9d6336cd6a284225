"""Draw a share of the rows so that each label keeps its share."""

import numpy as np

from polyrank.errors import DataError, SettingsError


def draw(
    labels: np.ndarray,
    share: float,
    rng: np.random.Generator,
    *,
    part: str,
    groups: np.ndarray | None = None,
) -> np.ndarray:
    """Draw round(share * n) rows, from each label within one row of its share.

    At least one row is drawn if ``share`` is above 0. The last row of a label is never
    drawn, so fewer rows come back if many labels are that rare. One row of each group is
    drawn only when a label has no others, so that small groups do not vanish.

    Args:
        labels: (n,) integers.
        share: of the rows, in [0, 1).
        rng: decides which rows.
        part: what the rows are drawn for, for messages.
        groups: (n,) strings or None.

    Returns:
        Sorted row indices.

    Raises:
        SettingsError: ``share`` is not in [0, 1).
        DataError: ``share`` is above 0, and no label has a row to spare.
    """
    if not 0 <= share < 1:
        raise SettingsError(f"{part} = {share}: expected a share of the rows, 0 <= {part} < 1")
    if share == 0:
        return np.empty(0, dtype=np.int64)
    present, inverse, totals = np.unique(labels, return_inverse=True, return_counts=True)
    quotas = _quotas(totals, share, rng)
    if not quotas.any():
        raise DataError(
            f"{part} = {share}: {len(labels)} rows with {len(present)} labels have no row to "
            f"spare: expected at least two rows of some label, or {part} = 0"
        )
    kept_back = _one_of_each(groups, rng) if groups is not None else np.zeros(len(labels), bool)
    order = np.lexsort((rng.random(len(labels)), kept_back, inverse))
    starts = np.cumsum(totals) - totals
    place = np.arange(len(labels)) - np.repeat(starts, totals)
    drawn: np.ndarray = order[place < np.repeat(quotas, totals)]
    return np.sort(drawn)


def _quotas(totals: np.ndarray, share: float, rng: np.random.Generator) -> np.ndarray:
    """Round share * totals (C,) to integers of the right sum, largest remainders first."""
    exact = share * totals
    quotas = np.floor(exact).astype(np.int64)
    missing = max(1, round(share * int(totals.sum()))) - int(quotas.sum())
    open_labels = quotas < totals - 1
    order = np.lexsort((rng.random(len(totals)), quotas - exact, ~open_labels))
    quotas[order[: max(0, missing)]] += 1
    return quotas.clip(max=totals - 1)


def _one_of_each(groups: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Mark one random row of each group: (n,) bool."""
    shuffled = rng.permutation(len(groups))
    marked = np.zeros(len(groups), dtype=bool)
    marked[shuffled[np.unique(groups[shuffled], return_index=True)[1]]] = True
    return marked
