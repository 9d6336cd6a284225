"""Why a client got its rank, in a column of a table: what moved its score most, and what held it.

The whole reason stands in ``clients.jsonl`` and in the report.
"""

from collections.abc import Sequence

from polyrank.allocators.reasons import NOTHING
from polyrank.record.lines import ProfileLine

HELD = {  # clauses of a reason, in short
    "held by its cap": "cap",
    "lowered by the budget": "budget",
    "raised by the budget": "budget",
}


def short_reasons(profiles: Sequence[ProfileLine]) -> list[str]:
    """Return a text for each client such as ``"+label_entropy, cap"``; ``-`` is what lowered it.

    Where no criterion moved any score, it is the reason as it was given.
    """
    if not any(profile.contributions for profile in profiles):
        return [profile.reason or "" for profile in profiles]
    return [_short(profile) for profile in profiles]


def _short(profile: ProfileLine) -> str:
    moved = {name: value or 0.0 for name, value in (profile.contributions or {}).items()}
    most = max(moved, key=lambda name: abs(moved[name]), default="")
    parts = []
    if most and abs(moved[most]) >= NOTHING:
        parts.append(f"{'+' if moved[most] > 0 else '-'}{most}")
    clauses = (profile.reason or "").split("; ")
    return ", ".join(parts + [short for clause, short in HELD.items() if clause in clauses])
