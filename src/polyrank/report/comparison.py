"""Several runs side by side: a table, curves on the same axes, accuracy against bytes.

Runs that differ only in their seed are one arm: one colour, and a mean with its spread.
"""

from collections.abc import Sequence
from statistics import fmean, stdev

from polyrank.report.comparison_figures import Arm, arms_of, compared_curve, price
from polyrank.report.headline import headline
from polyrank.report.parts import Cell, Column, Part, Section, Sheet
from polyrank.report.records import Run
from polyrank.report.words import NOTHING, percent, plural, size


def comparison(runs: Sequence[Run], names: Sequence[str]) -> Section:
    """Build the section that compares ``runs``, called ``names``."""
    arms = arms_of(runs)
    parts: list[Part] = [_runs(runs, names)]
    if len(arms) < len(runs):
        parts.insert(0, _arms(arms))
    for metric in ("accuracy", "loss"):
        parts += compared_curve(runs, names, arms, metric)
    parts.append(price(runs, names, arms))
    return Section("comparison", "How do the runs compare?", _lead(runs, names), parts)


def run_names(runs: Sequence[Run]) -> list[str]:
    """Return a name for every run, with seed and folder where it takes them to tell apart."""
    plain_names = [run.name for run in runs]
    seeds = [f"{r.name}, seed {r.summary.seed}" if r.summary else r.name for r in runs]
    folders = [f"{seed} ({run.folder})" for seed, run in zip(seeds, runs, strict=True)]
    if len(set(plain_names)) == len(runs):
        return plain_names
    return seeds if len(set(seeds)) == len(runs) else folders


def _lead(runs: Sequence[Run], names: Sequence[str]) -> str:
    text = plural(len(runs), "run")
    reached = [(headline(run).accuracy, name) for run, name in zip(runs, names, strict=True)]
    known = [(accuracy, name) for accuracy, name in reached if accuracy is not None]
    if not known:
        return f"{text}; no accuracy has been measured yet."
    (low, last), (high, first) = min(known), max(known)
    if low == high:
        return f"{text}; all ended at an accuracy of {percent(high)}."
    return f"{text}: final accuracy from {percent(low)} ({last}) to {percent(high)} ({first})."


def _runs(runs: Sequence[Run], names: Sequence[str]) -> Sheet:
    titles = ["Run", "Allocator", "Aggregator", "Seed", "Rounds"]
    shares = ["Accuracy", "Macro-F1", "Balanced accuracy", "Worst client"]
    columns = [Column(title) for title in titles] + [Column(title, percent) for title in shares]
    columns += [Column("Sent up", size), Column("Sent down", size), Column("Mean rank")]
    rows = [_row(run, name) for run, name in zip(runs, names, strict=True)]
    return Sheet("runs", "Every run: how it was made, what it reached, what it cost", columns, rows)


def _row(run: Run, name: str) -> list[Cell]:
    ended, got = run.summary, headline(run)
    return [
        name if ended else f"{name} (unfinished)",
        ended.allocator if ended else None,
        ended.aggregator if ended else None,
        ended.seed if ended else None,
        got.rounds,
        *(got.accuracy, got.macro_f1, got.balanced_accuracy, got.worst),
        *(got.bytes_up, got.bytes_down, got.mean_rank),
    ]


def _arms(arms: Sequence[Arm]) -> Sheet:
    titles = ["Arm", "Runs", "Accuracy", "Macro-F1", "Worst client", "Bytes up and down"]
    rows: list[list[Cell]] = []
    for arm in arms:
        got = [headline(run) for run in arm.runs]
        shares = ([h.accuracy for h in got], [h.macro_f1 for h in got], [h.worst for h in got])
        spent = fmean(h.bytes_up + h.bytes_down for h in got)
        rows.append([arm.name, len(got), *(_spread(share) for share in shares), size(spent)])
    caption = "Every arm: mean over its seeds, ± the standard deviation between them"
    return Sheet("arms", caption, [Column(title) for title in titles], rows)


def _spread(values: Sequence[float | None]) -> str:
    known = [value for value in values if value is not None]
    if not known:
        return NOTHING
    mean = percent(fmean(known))
    return mean if len(known) == 1 else f"{mean} ± {100 * stdev(known):.1f}"
