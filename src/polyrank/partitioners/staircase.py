"""Staircase: each client has one label more than the one before, and more data.

Chen et al., "RBLA: Rank-Based-LoRA-Aggregation for Fine-tuning Heterogeneous Models in
FLaaS", 2024, https://arxiv.org/abs/2408.08699. With N clients and as many labels, label c
is split evenly over clients c..N-1, so client i holds labels 0..i. For ten labels of 6,000
rows the sizes run from 600 to 6,000 * (1 + 1/2 + ... + 1/10), about 17,570.

The paper has ten clients for ten labels. With N clients and C labels the first owner of
label c is here client floor(c N / C): with fewer clients than labels a step brings several
labels, with more clients some steps bring none.
"""

import numpy as np

from polyrank.partitioners.rows import Rows, check_clients, deal, even_counts


def staircase(rows: Rows, clients: int | None, rng: np.random.Generator) -> list[np.ndarray]:
    """Split the c-th label present evenly over clients floor(c N / C)..N-1.

    What does not divide goes to the lowest client numbers.

    Args:
        rows: what to split.
        clients: number of clients, N.
        rng: decides which row goes where.

    Returns:
        Sorted row indices (n_k,) of each client; every row is in one of them. A first label
        with fewer than N rows leaves clients empty.

    Raises:
        SettingsError: ``clients`` is missing or below 1.
        DataError: fewer rows than clients.
    """
    clients = check_clients("staircase", rows, clients)
    by_label = rows.by_label()
    counts = [
        even_counts(len(part), np.arange(c * clients // len(by_label), clients), clients)
        for c, part in enumerate(by_label)
    ]
    return deal(by_label, np.stack(counts), rng)
