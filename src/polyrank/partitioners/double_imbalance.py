"""Clients that differ in labels and in sizes, each skew with a parameter of its own.

The target of Chen et al., "AutoRank: MCDA Based Rank Personalization for LoRA-Enabled
Distributed Learning", 2024, https://arxiv.org/abs/2412.15553, is double-imbalanced data,
skewed in both ways. How to make it is our own choice:

1. Sizes: every client gets ``min_examples`` rows, the rest is shared by
   Dirichlet(size_concentration, ..., size_concentration).
2. Label mixes: q_k ~ Dirichlet(concentration * C * prior), prior = the label shares of the
   data, as in Hsu, Qi and Brown, 2019, https://arxiv.org/abs/1909.06335. With even labels
   this is Dirichlet(concentration, ..., concentration).
3. Filling: in each turn every client asks for as many labels as it has free places, drawn
   from its mix over the labels that are left; a label that is asked for more often than it
   has rows is drawn by lot. Every turn either ends the filling or uses up a label, so there
   are at most C turns and every row finds a place.
"""

import numpy as np

from polyrank.partitioners.rows import Rows, check_clients, check_positive, deal


def double_imbalance(
    rows: Rows,
    clients: int | None,
    rng: np.random.Generator,
    *,
    concentration: float = 0.5,
    size_concentration: float = 1.0,
    min_examples: int = 2,
) -> list[np.ndarray]:
    """Draw client sizes and client label mixes apart from each other, then fill.

    Args:
        rows: what to split.
        clients: number of clients.
        rng: draws sizes, mixes and which row goes where.
        concentration: of the labels; small gives clients of few labels. The last rows to be
            placed go where there is room, so large clients are less skewed than asked for.
        size_concentration: of the sizes; small gives a few large clients and many small ones.
        min_examples: the least number of rows of a client.

    Returns:
        Sorted row indices (n_k,) of each client; every row is in one of them.

    Raises:
        SettingsError: an option is out of range.
        DataError: too few rows.
    """
    clients = check_clients("double_imbalance", rows, clients, min_examples)
    check_positive("double_imbalance", "concentration", concentration)
    check_positive("double_imbalance", "size_concentration", size_concentration)
    by_label = rows.by_label()
    totals = np.array([len(part) for part in by_label])
    spare = len(rows) - clients * min_examples
    ends = np.rint(np.cumsum(rng.dirichlet(np.full(clients, size_concentration))) * spare)
    sizes = min_examples + np.diff(ends.astype(np.int64), prepend=0)
    mixes = rng.dirichlet(concentration * totals / totals.mean(), size=clients)
    return deal(by_label, _fill(sizes, mixes, totals, rng), rng)


def _fill(
    sizes: np.ndarray, mixes: np.ndarray, totals: np.ndarray, rng: np.random.Generator
) -> np.ndarray:
    """Return counts (C, clients) with column sums ``sizes`` (clients,) and row sums ``totals``."""
    counts = np.zeros((len(totals), len(sizes)), dtype=np.int64)
    while (free := sizes - counts.sum(axis=0)).any():
        left = totals - counts.sum(axis=1)
        for label, asked in enumerate(_ask(free, mixes, left, rng).T):
            granted = min(int(asked.sum()), int(left[label]))
            counts[label] += rng.multivariate_hypergeometric(asked, granted)
    return counts


def _ask(
    free: np.ndarray, mixes: np.ndarray, left: np.ndarray, rng: np.random.Generator
) -> np.ndarray:
    """Draw how often each client asks for each label that has rows left: (clients, C) integers.

    A client whose mix has nothing left of it asks in proportion to what is left.
    """
    wanted = mixes * (left > 0)
    nothing = wanted.sum(axis=1) < np.finfo(np.float64).tiny
    wanted[nothing] = left
    return rng.multinomial(free, wanted / wanted.sum(axis=1, keepdims=True))
