"""Label skew: each label is shared out among the clients by a Dirichlet draw.

Hsu, Qi and Brown, "Measuring the Effects of Non-Identical Data Distribution for Federated
Visual Classification", 2019, https://arxiv.org/abs/1909.06335, use Dirichlet draws over
labels, one per client. Li et al., "Federated Learning on Non-IID Data Silos: An
Experimental Study" (NIID-Bench), ICDE 2022, https://arxiv.org/abs/2102.02079, draw over
clients, one per label, so that every row finds a place; this is their rule.

Two deviations from the code of NIID-Bench: a client that already has its fair share of
rows may get more of the next label, and cut points are rounded to the nearest row, not
down, which would favour the last client by half a row per label.
"""

import numpy as np

from polyrank.errors import DataError
from polyrank.partitioners.rows import Rows, check_clients, check_positive, deal

DRAWS = 1000


def dirichlet(
    rows: Rows,
    clients: int | None,
    rng: np.random.Generator,
    *,
    concentration: float = 0.5,
    min_examples: int = 2,
) -> list[np.ndarray]:
    """Share out each label by p ~ Dirichlet(concentration, ..., concentration) over clients.

    All labels are drawn again, up to 1,000 times, until every client has ``min_examples``.

    Args:
        rows: what to split.
        clients: number of clients.
        rng: draws the shares and which row goes where.
        concentration: small gives clients of few labels and unequal sizes, large gives
            clients that look alike.
        min_examples: the least number of rows of a client.

    Returns:
        Sorted row indices (n_k,) of each client; every row is in one of them.

    Raises:
        SettingsError: an option is out of range.
        DataError: too few rows, or no draw gave every client its ``min_examples``.
    """
    clients = check_clients("dirichlet", rows, clients, min_examples)
    check_positive("dirichlet", "concentration", concentration)
    by_label = rows.by_label()
    totals = np.array([len(part) for part in by_label])
    smallest = 0
    for _ in range(DRAWS):
        counts = _draw(totals, clients, concentration, rng)
        smallest = max(smallest, int(counts.sum(axis=0).min()))
        if smallest >= min_examples:
            return deal(by_label, counts, rng)
    raise DataError(
        f"partitioner 'dirichlet': in {DRAWS} draws with concentration = {concentration} the "
        f"smallest of {clients} clients never got more than {smallest} of {len(rows)} rows, "
        f"and min_examples = {min_examples}: raise concentration, or ask for fewer clients or a "
        "smaller min_examples"
    )


def _draw(
    totals: np.ndarray, clients: int, concentration: float, rng: np.random.Generator
) -> np.ndarray:
    """Draw how many rows of each label (C,) go to each client: (C, clients) integers."""
    shares = rng.dirichlet(np.full(clients, concentration), size=len(totals))
    ends = np.rint(np.cumsum(shares, axis=1) * totals[:, None]).astype(np.int64)
    ends[:, -1] = totals
    return np.diff(ends, axis=1, prepend=0)
