"""What arms of a comparison differ by, seed by seed, and how sure that is."""

from collections.abc import Callable, Sequence

from polyrank.intervals import Interval, interval
from polyrank.report.arms import Arm, seed_of
from polyrank.report.headline import Headline, headline
from polyrank.report.parts import Cell, Column, Part, Sheet
from polyrank.report.reading import Run
from polyrank.report.words import NOTHING
from polyrank.report.yardstick import Yardstick

Value = Callable[[Run], float | None]


def final_of(judged: Yardstick) -> Value:
    """Return what takes of a run the metric of its global model at the end, on test rows."""
    return _of(judged, lambda got: got.final)


def measures(judged: Yardstick) -> dict[str, Value]:
    """Return what runs are compared by: the global model, and clients on rows of their own."""
    return {
        judged.title: final_of(judged),
        "Worst client": _of(judged, lambda got: got.worst),
        "Clients' own models": _of(judged, lambda got: got.personal),
    }


def over_seeds(arm: Arm, against: Arm, value: Value) -> Interval | None:
    """Return by how much an arm is above another over the seeds that both have; None of none."""
    theirs = {seed_of(run): value(run) for run in against.seeds}
    pairs = [(value(run), theirs.get(seed_of(run))) for run in arm.seeds]
    return interval([a - b for a, b in pairs if a is not None and b is not None])


def differences(arms: Sequence[Arm], against: Arm, judged: Sequence[Yardstick]) -> list[Part]:
    """Return the table of what every other arm differs by from one of them, if any does."""
    parts: list[Part] = []
    for yard in judged:
        taken = measures(yard)
        others = [arm for arm in arms if arm is not against]
        found = [[over_seeds(arm, against, value) for value in taken.values()] for arm in others]
        rows = [_row(arm, of, yard) for arm, of in zip(others, found, strict=True) if any(of)]
        if rows:
            columns = [Column("Arm"), Column("Seeds"), *(Column(title) for title in taken)]
            caption = (
                f"Difference to {against.name}, seed by seed: mean, and the 90 % interval of "
                "Student's t over the seeds, which one seed does not give"
            )
            parts.append(Sheet(f"paired-{yard.metric}", caption, columns, rows))
    return parts


def shown_interval(found: Interval | None, judged: Yardstick) -> str:
    """Return a difference with its interval in words."""
    if found is None:
        return NOTHING
    mean = judged.difference(found.mean)
    if found.low is None or found.high is None:
        return f"{mean} (one seed)"
    ends = (judged.difference(end).removesuffix(" points") for end in (found.low, found.high))
    return f"{mean} ({' to '.join(ends)})"


def _row(arm: Arm, found: Sequence[Interval | None], judged: Yardstick) -> list[Cell]:
    seeds = max(of.count for of in found if of)
    return [arm.name, seeds, *(shown_interval(of, judged) for of in found)]


def _of(judged: Yardstick, take: Callable[[Headline], float | None]) -> Value:
    def value(run: Run) -> float | None:
        got = headline(run)
        return take(got) if got.judged is judged else None

    return value
