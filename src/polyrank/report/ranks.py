"""Who got which rank, and why: ranks, scores, criteria and what they contributed."""

from collections.abc import Sequence

from polyrank.allocators import spread_note
from polyrank.record.lines import ProfileLine
from polyrank.report.client_sheet import client_sheet
from polyrank.report.parts import Note, Part, Section
from polyrank.report.rank_figures import (
    contributions,
    criterion_weights,
    mean_rank,
    module_ranks,
    rank_bars,
)
from polyrank.report.rank_history import rank_history
from polyrank.report.reading import Run
from polyrank.report.slot_history import slot_history
from polyrank.report.words import number, plural


def ranks(run: Run) -> Section:
    """Build the section on ranks and the reasons for them."""
    title = "Who got which rank, and why?"
    if not run.profiles:
        return Section("ranks", title, "No ranks have been chosen yet.", [])
    ordered = sorted(run.profiles, key=lambda profile: _place(run, profile), reverse=True)
    parts: list[Part] = [
        rank_bars(run, ordered),
        *rank_history(run, ordered),
        *slot_history(run),
        *contributions(ordered),
        *criterion_weights(run),
        *module_ranks(run, ordered),
        client_sheet(run, ordered),
    ]
    if all(profile.score is None for profile in ordered):
        parts.insert(0, Note("The ranks of this run do not depend on a score."))
    share = run.summary.rank_spread if run.summary else None
    if note := spread_note(1.0 if share is None else share):
        parts.insert(0, Note(note))
    return Section("ranks", title, _lead(run, ordered), parts)


def _place(run: Run, profile: ProfileLine) -> tuple[float, float]:
    return (-1.0 if profile.score is None else profile.score, mean_rank(run, profile))


def _lead(run: Run, profiles: Sequence[ProfileLine]) -> str:
    means = [mean_rank(run, profile) for profile in profiles]
    low, high = min(means), max(means)
    who = plural(len(profiles), "client")
    spread = f"ranks from {number(low)} to {number(high)}" if low < high else f"rank {number(low)}"
    by = f", chosen by {run.summary.allocator}" if run.summary and run.summary.allocator else ""
    did = "trained with"
    if run.changes:
        did = "ended with" if run.finished else "now have"
    return f"{who} {did} {spread} (mean over a client's modules){by}."
