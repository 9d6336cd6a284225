"""Who got which rank, and why: ranks, scores, criteria and what they contributed."""

from collections.abc import Sequence

from polyrank.allocators import spread_note
from polyrank.record.lines import ProfileLine
from polyrank.record.sent import mean_sent
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
from polyrank.report.sent_ranks import sent_by_module, sent_history
from polyrank.report.slot_history import slot_history
from polyrank.report.truncation import server_slots, truncation
from polyrank.report.words import number, plural


def ranks(run: Run) -> Section:
    """Build the section on ranks and the reasons for them."""
    title = "Who got which rank, and why?"
    if not run.profiles:
        return Section("ranks", title, "No ranks have been chosen yet.", [])
    ordered = sorted(run.profiles, key=lambda profile: _place(run, profile), reverse=True)
    charts = _by_need(run, ordered) if run.sent else _chosen(run, ordered)
    parts: list[Part] = [*charts[:1], client_sheet(run, ordered), *charts[1:]]
    if all(profile.score is None for profile in ordered) and not run.sent:
        parts.insert(0, Note("The ranks of this run do not depend on a score."))
    share = run.summary.rank_spread if run.summary else None
    if note := spread_note(1.0 if share is None else share):
        parts.insert(0, Note(note))
    return Section("ranks", title, _lead(run, ordered), parts)


def _chosen(run: Run, ordered: Sequence[ProfileLine]) -> list[Part]:
    """Return the charts of ranks that are chosen before a round."""
    return [
        rank_bars(run, ordered),
        *rank_history(run, ordered),
        *slot_history(run),
        *contributions(ordered),
        *criterion_weights(run),
        *module_ranks(run, ordered),
    ]


def _by_need(run: Run, ordered: Sequence[ProfileLine]) -> list[Part]:
    """Return the charts of ranks that are found in a round, and of the slots they come from."""
    return [
        *truncation(run),
        *server_slots(run),
        *sent_history(run, ordered),
        *sent_by_module(run, ordered),
        *contributions(ordered),
        *criterion_weights(run),
    ]


def _place(run: Run, profile: ProfileLine) -> tuple[float, float]:
    ranks = mean_rank(run, profile)
    if run.sent:
        sent = run.sent.get(profile.client)
        ranks = mean_sent(sent) if sent else -1.0
    return (-1.0 if profile.score is None else profile.score, ranks)


def _lead(run: Run, profiles: Sequence[ProfileLine]) -> str:
    if run.sent:
        return _lead_by_need(run, profiles)
    means = [mean_rank(run, profile) for profile in profiles]
    low, high = min(means), max(means)
    who = plural(len(profiles), "client")
    spread = f"ranks from {number(low)} to {number(high)}" if low < high else f"rank {number(low)}"
    by = f", chosen by {run.summary.allocator}" if run.summary and run.summary.allocator else ""
    did = "trained with"
    if run.changes:
        did = "ended with" if run.finished else "now have"
    return f"{who} {did} {spread} (mean over a client's modules){by}."


def _lead_by_need(run: Run, profiles: Sequence[ProfileLine]) -> str:
    slots = max((rank for p in profiles for rank in run.ranks_of(p).values()), default=0)
    sent = [mean_sent(update) for update in run.sent.values()]
    low, high = number(min(sent)), number(max(sent))
    ranks = f"rank {low}" if low == high else f"ranks from {low} to {high}"
    now = "had in the end" if run.finished else "has now"
    who = plural(len(profiles), "client")
    return (
        f"{who}; the global model {now} {plural(slots, 'slot')}, which all train, and each sends "
        f"what its change needs: {ranks} in its last update (mean over modules)."
    )
