"""What the page of a comparison has beside its runs: rates, failures, seconds, notes."""

from collections.abc import Sequence

from polyrank.comparing.rows import Row
from polyrank.comparing.tuning import Tuned
from polyrank.judging import judged_by
from polyrank.report.parts import Column, Note, Part, Sheet
from polyrank.report.words import NOTHING, duration, percent, shown_perplexity


def parts_of(
    tuned: Sequence[Tuned],
    failed: Sequence[tuple[str, str]],
    rows: Sequence[Row],
    notes: Sequence[str],
) -> list[Part]:
    """Return failures first, then seconds, learning rates and notes.

    Args:
        tuned: learning rates that were tried.
        failed: name of a run, and why it failed.
        rows: of the arms.
        notes: in plain words.
    """
    parts: list[Part] = []
    if failed:
        columns = [Column("Run"), Column("Error", prose=True)]
        parts.append(Sheet("failed", "Runs that failed", columns, failed))
    timed = [row for row in rows if row.get("seconds") is not None]
    if timed:
        parts.append(_seconds(timed))
    if tuned:
        parts.append(_rates(tuned))
    return [*parts, *(Note(f"{note[:1].upper()}{note[1:]}.") for note in notes)]


def _seconds(rows: Sequence[Row]) -> Sheet:
    titles = {
        "seconds": "This machine",
        "federated_seconds": "Devices",
        "federated_seconds_to_target": "Devices, to the target",
    }
    columns = [Column("Arm"), *(Column(title, duration) for title in titles.values())]
    caption = "Seconds of a run, means over seeds: measured here, and by the model of devices"
    if not any(row.get("federated_seconds") for row in rows):
        caption = "Seconds of a run on this machine, means over seeds; several may run at a time"
    return Sheet("seconds", caption, columns, [[r["arm"], *map(r.get, titles)] for r in rows])


def _rates(tuned: Sequence[Tuned]) -> Sheet:
    tries = max(len(one.tries) for one in tuned)
    columns = [Column("Arm"), *(Column(f"Try {at}") for at in range(1, tries + 1))]
    columns += [Column("Taken")]
    caption = (
        "Learning rates, chosen at seeds of their own on validation rows; of clients alone, on "
        "their own test rows"
    )
    rows = [
        [
            one.arm,
            *(f"{rate:g}: {_shown(one, rate)}" for rate in one.tries),
            NOTHING if one.best is None else f"{one.best:g}",
        ]
        for one in tuned
    ]
    return Sheet("rates", caption, columns, rows)


def _shown(tuned: Tuned, rate: float) -> str:
    metrics = tuned.means[rate]
    if not metrics:
        return "failed"
    show = shown_perplexity if judged_by(metrics) == "perplexity" else percent
    return show(tuned.shown(rate))
