"""Which arm of a comparison is ahead, by how much, and how sure that is."""

from collections.abc import Sequence
from statistics import fmean

from polyrank.report.arms import Arm
from polyrank.report.headline import headline
from polyrank.report.paired import final_of, over_seeds
from polyrank.report.reading import Run
from polyrank.report.yardstick import Yardstick, yardstick


def is_control(run: Run, runs: Sequence[Run]) -> bool:
    """Whether a run has no federation: every client alone, or all data in one place."""
    several = any(len(other.profiles) > 1 for other in runs)
    return run.only_personal or (several and len(run.profiles) == 1)


def ahead(arms: Sequence[Arm], runs: Sequence[Run], judged: Yardstick) -> str:
    """Return a sentence on the two best arms of federations; ``""`` where there are no two.

    Their difference is taken seed by seed, over the seeds that both have.
    """
    known = [(final, arm) for arm in arms if (final := _mean(arm, runs, judged)) is not None]
    if len(known) < 2:
        return ""
    known.sort(key=lambda pair: pair[0], reverse=not judged.falls)
    (first, best), (second, other) = known[:2]
    values = f"{judged.show(first)} against {judged.show(second)}"
    lead = over_seeds(best, other, final_of(judged))
    if lead is None or lead.low is None or lead.high is None:
        told = f"{best.name} comes out ahead of {other.name}, {values}"
        return f"{told}; with one seed there is no telling how much of that is chance."
    ends = f"{judged.difference(lead.low)} to {judged.difference(lead.high)}".replace(" points", "")
    sure = f"90 % interval of the difference over {lead.count} seeds: {ends}"
    verdict = (
        f"{best.name} is ahead of {other.name}"
        if lead.beside_zero
        else f"{best.name} and {other.name} are level"
    )
    return f"{verdict}: {values}, {judged.difference(lead.mean)} ({sure})."


def _mean(arm: Arm, runs: Sequence[Run], judged: Yardstick) -> float | None:
    of = [run for run in arm.seeds if yardstick(run) is judged and not is_control(run, runs)]
    finals = [headline(run).final for run in of]
    values = [value for value in finals if value is not None]
    return fmean(values) if values and len(values) == len(finals) else None
