"""What a truncation curve says: the loss of a model that is cut to its first slots."""

from collections.abc import Sequence

from polyrank.allocators.need import within
from polyrank.record.lines import CutLoss

KEPT = 0.99  # of what all slots gain: a rank that keeps so much is said to suffice
NEARLY = "99 %"


def rank_that_suffices(curve: Sequence[CutLoss]) -> int | None:
    """Return the smallest rank that keeps ``KEPT`` of what all slots gain over none.

    Args:
        curve: with rising numbers of slots, as read.

    Returns:
        None where the curve does not tell: without a loss at 0 slots or at all of them, or where
        all slots gain nothing.
    """
    losses = {cut.slots: cut.loss for cut in curve}
    known = {slots: loss for slots, loss in losses.items() if loss is not None}
    if 0 not in known or max(losses) not in known or len(known) < 2:
        return None
    gain = known[0] - known[max(known)]
    return within(known, (1 - KEPT) * gain) if gain > 0 else None


def in_words(curve: Sequence[CutLoss]) -> str:
    """Say which rank suffices, and of how many slots."""
    slots = curve[-1].slots if curve else 0
    rank = rank_that_suffices(curve)
    if rank is None:
        return f"The {slots} slots gain nothing on these rows."
    return f"A rank of {rank} keeps {NEARLY} of what all {slots} slots gain on these rows."
