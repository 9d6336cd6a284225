"""Each client has a few labels only.

McMahan et al., "Communication-Efficient Learning of Deep Networks from Decentralized
Data", AISTATS 2017, https://arxiv.org/abs/1602.05629, section 3: sorted by label, cut into
shards, two shards per client, so that "most clients will only have examples of two digits".

Deviation: shards straddle labels, so a client of two shards may have up to four labels. As
in NIID-Bench (Li et al., 2022, https://arxiv.org/abs/2102.02079, "#C = k"), labels are
dealt here instead, so the number of labels is exact and the sizes of clients differ with
the sizes of labels. Unlike there, no label is left without an owner.
"""

import numpy as np

from polyrank.errors import SettingsError
from polyrank.partitioners.rows import Rows, check_clients, deal, even_counts


def pathological(
    rows: Rows,
    clients: int | None,
    rng: np.random.Generator,
    *,
    labels_per_client: int = 2,
) -> list[np.ndarray]:
    """Give each client ``labels_per_client`` labels and split each label evenly over its owners.

    Owners are dealt so that the numbers of owners of any two labels differ by at most one.

    Args:
        rows: what to split.
        clients: number of clients.
        rng: deals the labels and decides which row goes where.
        labels_per_client: 1 to the number of labels that are present.

    Returns:
        Sorted row indices (n_k,) of each client; every row is in one of them. A label with
        fewer rows than owners leaves some of them without it.

    Raises:
        SettingsError: an option is out of range, or some label would have no owner.
        DataError: fewer rows than clients.
    """
    clients = check_clients("pathological", rows, clients)
    by_label = rows.by_label()
    if not 1 <= labels_per_client <= len(by_label):
        raise SettingsError(
            f"partitioner 'pathological': labels_per_client = {labels_per_client}: expected 1 to "
            f"{len(by_label)}, the number of labels present"
        )
    if clients * labels_per_client < len(by_label):
        raise SettingsError(
            f"partitioner 'pathological': {clients} clients with labels_per_client = "
            f"{labels_per_client} own at most {clients * labels_per_client} labels, and the data "
            f"has {len(by_label)}: raise one of the two, or rows would have no owner"
        )
    owns = _deal_labels(len(by_label), clients, labels_per_client, rng)
    counts = [
        even_counts(len(part), rng.permutation(np.flatnonzero(owners)), clients)
        for part, owners in zip(by_label, owns, strict=True)
    ]
    return deal(by_label, np.stack(counts), rng)


def _deal_labels(
    labels: int, clients: int, labels_per_client: int, rng: np.random.Generator
) -> np.ndarray:
    """Return owns (labels, clients) of bool; each client takes the labels with fewest owners."""
    owns = np.zeros((labels, clients), dtype=bool)
    for client in range(clients):
        rarest_first = np.lexsort((rng.random(labels), owns.sum(axis=1)))
        owns[rarest_first[:labels_per_client], client] = True
    return owns
