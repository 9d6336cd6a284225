"""What clients sent of their changes, where each is cut to the rank that it needs."""

from collections.abc import Sequence

from polyrank.record.lines import ClientLine, UpdateLine
from polyrank.record.outcome import mean


def last_sent(clients: Sequence[ClientLine]) -> dict[str, UpdateLine]:
    """Return each client's last update that was taken, where clients send changes; else nothing."""
    return {line.client: line for line in clients if isinstance(line, UpdateLine) and line.ranks}


def mean_sent(update: UpdateLine) -> float:
    """Return the mean over modules of the rank that was sent."""
    return mean(list((update.ranks or {}).values()) or [0])


def least_share(update: UpdateLine) -> float:
    """Return the least share of a module's change that what was sent holds."""
    return min((update.shares or {}).values(), default=1.0)


def percent_held(share: float) -> str:
    """Return a share in whole percents, rounded down: at least so much is held."""
    return f"{int(100 * share + 1e-9)} %"


def in_words(update: UpdateLine) -> str:
    """Say what a client's rank stands for.

    Example:
        >>> from polyrank.record.lines import Traffic
        >>> line = UpdateLine(round=7, client="3", examples=9, loss=0.5, steps=1, times_median=1,
        ...     bytes=Traffic(up=0, down=0), ranks={"a": 2, "b": 5}, shares={"a": 0.91, "b": 0.82})
        >>> in_words(line)
        'rank 3.5, the mean of 2 modules, holds at least 82 % of its change in round 7'
    """
    ranks, share = list((update.ranks or {}).values()), least_share(update)
    if not any(ranks):
        return f"it had changed nothing that is worth sending in round {update.round}"
    rank = f"{mean(ranks):.1f}".removesuffix(".0")
    whose = "" if len(ranks) == 1 else f", the mean of {len(ranks)} modules,"
    least = "" if len(ranks) == 1 else "at least "
    held = f"{least}{percent_held(share)}"
    return f"rank {rank}{whose} holds {held} of its change in round {update.round}"
