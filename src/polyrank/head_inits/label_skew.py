"""How far the labels of the clients are from those of all clients together."""

from collections.abc import Sequence
from itertools import zip_longest

SKEWED = 0.5


def distance_from_pool(counts: Sequence[Sequence[int]]) -> float:
    """Return the clients' mean total variation distance from all data pooled.

    It is the share of a client's examples that would have to change their label
    for its distribution to be that of the pool: 0 if all are alike.

    Args:
        counts: the rows of each label, of every client; a client without rows does not count.
            Of no rows at all it is 0.
    """
    held = [row for row in counts if sum(row)]
    if not held:
        return 0.0
    pool = [sum(column) for column in zip_longest(*held, fillvalue=0)]
    shares = [[count / sum(row) for count in row] for row in held]
    whole = [count / sum(pool) for count in pool]
    gaps = [
        sum(abs(a - b) for a, b in zip_longest(row, whole, fillvalue=0.0)) / 2 for row in shares
    ]
    return sum(gaps) / len(gaps)


def skew_warning(counts: Sequence[Sequence[int]], *, private: bool) -> str | None:
    """Return what to say where a new head starts at random and labels are skewed.

    They are skewed where at least half of a client's examples, on average, would have to change
    their label for it to look like all clients together.

    Args:
        counts: as above.
        private: whether ``probe.epsilon`` is set, with which no true counts may leave a client.
    """
    away = distance_from_pool(counts)
    if away < SKEWED:
        return None
    instead = (
        "probe.epsilon forbids to make it from sums of features (head_init); "
        'training.local_loss = "calibrated" helps a little'
        if private
        else 'head_init = "lda" makes it from sums of features'
    )
    return (
        f"warning: labels are skewed ({100 * away:.0f} % of a client's examples would have to "
        "change their label for it to look like all clients together) and the new head starts at "
        f"random, so each client unlearns the labels that it does not hold; {instead}"
    )
