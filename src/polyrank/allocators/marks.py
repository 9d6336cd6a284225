"""Marks on choosers and allocators, by which a run knows what they need.

The decorators here mark functions. An allocator that is a class has them as attributes, on
the class or, where they depend on its options, on the instance; ``mark_of`` reads both.

- ``reads_criteria``, ``reads_spectra``, ``by_hand``: see the decorators.
- ``cuts``: clients cut their last slots before they send them, by the rule of
  ``polyrank.aggregators.pruning`` with the allocator's attribute ``decay``, and
  ``Evidence.observed`` says how many slots came; for an allocator knows no torch.
"""

from typing import Any, TypeVar

F = TypeVar("F")


def reads_criteria(chooser: F) -> F:
    """Mark a chooser that reads ``Evidence.criteria``, so that clients measure them first."""
    marked: Any = chooser
    marked.reads_criteria = True
    return chooser


def reads_spectra(chooser: F) -> F:
    """Mark a chooser that reads ``Evidence.spectra``, so that clients measure them first."""
    marked: Any = chooser
    marked.reads_spectra = True
    return chooser


def by_hand(chooser: F) -> F:
    """Mark a chooser whose ranks are taken as given, also above min(d_in, d_out)."""
    marked: Any = chooser
    marked.by_hand = True
    return chooser


def mark_of(allocator: object, name: str) -> Any:  # noqa: ANN401
    """Return the mark ``name`` of what ``make_allocator`` made, None where it has none."""
    chooser = getattr(allocator, "chooser", allocator)  # a one-shot chooser, wrapped
    chooser = getattr(chooser, "func", chooser)  # its options bound
    return getattr(chooser, name, None)
