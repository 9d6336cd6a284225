"""One client for each group that the data name, such as a writer or a hospital.

The natural partition of FEMNIST and Shakespeare by writer and by role: Caldas et al.,
"LEAF: A Benchmark for Federated Settings", 2018, https://arxiv.org/abs/1812.01097.
"""

import numpy as np

from polyrank.errors import DataError, SettingsError
from polyrank.partitioners.rows import Rows


def natural(
    rows: Rows, clients: int | None, rng: np.random.Generator, *, min_examples: int = 1
) -> list[np.ndarray]:
    """Return the rows of each group, groups in the order of their sorted names.

    Args:
        rows: what to split, with groups.
        clients: None, or the number of groups.
        rng: not used, nothing is random here.
        min_examples: groups with fewer rows are left out.

    Returns:
        Sorted row indices (n_k,) of each group that is kept.

    Raises:
        SettingsError: ``clients`` is not the number of groups, or ``min_examples`` below 1.
        DataError: there are no groups, or all are left out.
    """
    if rows.groups is None:
        raise DataError(
            "partitioner 'natural': the data set has no groups: expected an array train_groups "
            "in an .npz file, the option group = COLUMN, or a list of files, one per client"
        )
    if min_examples < 1:
        raise SettingsError(
            f"partitioner 'natural': min_examples = {min_examples}: expected at least 1"
        )
    parts = Rows(np.unique(rows.groups, return_inverse=True)[1]).by_label()
    kept = [part for part in parts if len(part) >= min_examples]
    if not kept:
        raise DataError(
            f"partitioner 'natural': none of {len(parts)} groups has {min_examples} rows: expected "
            "a smaller min_examples"
        )
    if clients not in (None, len(kept)):
        raise SettingsError(
            f"partitioner 'natural': clients = {clients}, and the data has {len(kept)} groups of "
            f"at least {min_examples} rows: leave clients out, or give {len(kept)}"
        )
    return kept
