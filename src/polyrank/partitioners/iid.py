"""Clients of equal size that all look alike.

McMahan et al., "Communication-Efficient Learning of Deep Networks from Decentralized
Data", AISTATS 2017, https://arxiv.org/abs/1602.05629, section 3: "the data is shuffled,
and then partitioned".
"""

import numpy as np

from polyrank.partitioners.rows import Rows, check_clients


def iid(rows: Rows, clients: int | None, rng: np.random.Generator) -> list[np.ndarray]:
    """Shuffle the rows and cut them into ``clients`` parts whose sizes differ by at most one.

    Args:
        rows: what to split.
        clients: number of clients.
        rng: shuffles.

    Returns:
        Sorted row indices (n_k,) of each client; every row is in one of them.

    Raises:
        SettingsError: ``clients`` is missing or below 1.
        DataError: fewer rows than clients.
    """
    clients = check_clients("iid", rows, clients)
    return [np.sort(part) for part in np.array_split(rng.permutation(len(rows)), clients)]
