"""Marks on choosers, by which a run knows what they need."""

from typing import Any, TypeVar

F = TypeVar("F")


def reads_criteria(chooser: F) -> F:
    """Mark a chooser that reads ``Evidence.criteria``, so that clients measure them first."""
    marked: Any = chooser
    marked.reads_criteria = True
    return chooser


def by_hand(chooser: F) -> F:
    """Mark a chooser whose ranks are taken as given, also above min(d_in, d_out)."""
    marked: Any = chooser
    marked.by_hand = True
    return chooser
