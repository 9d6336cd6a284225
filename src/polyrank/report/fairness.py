"""How evenly the global model serves the clients: the spread, and the three it serves worst."""

from collections.abc import Sequence
from statistics import pstdev

from polyrank.judging import goodness
from polyrank.record.lines import FinalLine
from polyrank.report.parts import Cell, Column, CsvData, Note, Part, Sheet
from polyrank.report.reading import Run
from polyrank.report.words import percent
from polyrank.report.yardstick import PERPLEXITY, Yardstick

WORST = 3


def fairness(run: Run, judged: Yardstick) -> list[Part]:
    """Return the spread in a sentence and the worst clients as a table; nothing for one client."""
    served = [final for final in run.finals if _of(final, judged) is not None]
    if len(served) < 2:
        return []
    ordered = sorted(served, key=lambda final: goodness(final.shared or {}))
    parts: list[Part] = [Note(_spread(served, judged))]
    if len(served) > WORST:
        parts.append(_worst(run, ordered, judged))
    return parts


def _of(final: FinalLine, judged: Yardstick) -> float | None:
    return (final.shared or {}).get(judged.metric)


def _spread(served: Sequence[FinalLine], judged: Yardstick) -> str:
    values = [value for final in served if (value := _of(final, judged)) is not None]
    low, high = judged.show(min(values)), judged.show(max(values))
    start = f"Between clients, the global model's {judged.metric} on their own test rows goes from"
    spread = pstdev(values)
    told = f"{spread:.2g}" if judged is PERPLEXITY else f"{100 * spread:.1f} points"
    return f"{start} {low} to {high}, with a standard deviation of {told}."


def _worst(run: Run, ordered: Sequence[FinalLine], judged: Yardstick) -> Sheet:
    profiles = {profile.client: profile for profile in run.profiles}

    def row(final: FinalLine) -> list[Cell]:
        profile = profiles.get(final.client)
        counts = profile.label_counts if profile else ()
        examples = profile.examples if profile else None
        return [
            final.client,
            _of(final, judged),
            (final.personal or {}).get(judged.metric),
            examples.test if examples else None,
            examples.train if examples else None,
            sum(count > 0 for count in counts) if len(counts) > 1 else None,
        ]

    rows = [row(final) for final in ordered]
    titles = ["Client", "Global adapter", "Personal adapter"]
    columns = [Column(title, judged.show if k else percent) for k, title in enumerate(titles)]
    columns += [Column("Own test rows"), Column("Training rows"), Column("Labels")]
    caption = "The three clients that the global model serves worst, on their own test rows"
    data = CsvData([column.title for column in columns], rows)
    return Sheet("worst", caption, columns, rows[:WORST], data)
