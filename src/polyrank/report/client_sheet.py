"""The table of clients: criteria, score, ranks and the reason for them."""

from collections.abc import Sequence

from polyrank.record.lines import ProfileLine
from polyrank.report.parts import Cell, Column, CsvData, Sheet
from polyrank.report.reading import Run
from polyrank.report.words import rank_range, readable

FEW_MODULES = 6  # more than this are shown as a range; the download has them all


def client_sheet(run: Run, ordered: Sequence[ProfileLine]) -> Sheet:
    """Build the table of clients in the order given."""
    criteria = list(dict.fromkeys(name for profile in ordered for name in profile.criteria))
    modules = modules_of(run, ordered)
    alike = all(len(set(run.ranks_of(profile).values())) < 2 for profile in ordered)
    shown = [] if alike or len(modules) > FEW_MODULES else modules
    columns = [Column("Client"), Column("Rank"), *(Column(f"Rank of {name}") for name in shown)]
    columns += [Column("Cap"), Column("Score"), Column("Why", prose=True)]
    columns += [*(Column(readable(name)) for name in criteria), Column("Training examples")]
    titles = ["client", *(f"rank of {name}" for name in modules)]
    return Sheet(
        "clients",
        "Every client: its rank, what led to it, and the reason in words",
        columns,
        [
            [p.client, _rank(run, p), *_ranks(run, p, shown), *_evidence(p, criteria)]
            for p in ordered
        ],
        CsvData(
            [*titles, "cap", "score", "reason", *criteria, "training examples"],
            [[p.client, *_ranks(run, p, modules), *_evidence(p, criteria)] for p in ordered],
        ),
    )


def modules_of(run: Run, profiles: Sequence[ProfileLine]) -> list[str]:
    """Return the modules that any of the clients adapts, in the order met."""
    return list(dict.fromkeys(name for profile in profiles for name in run.ranks_of(profile)))


def _rank(run: Run, profile: ProfileLine) -> Cell:
    values = list(run.ranks_of(profile).values())
    return values[0] if len(set(values)) == 1 else rank_range(values)


def _ranks(run: Run, profile: ProfileLine, modules: Sequence[str]) -> list[Cell]:
    return [run.ranks_of(profile).get(name) for name in modules]


def _evidence(profile: ProfileLine, criteria: Sequence[str]) -> list[Cell]:
    values = [profile.criteria.get(name) for name in criteria]
    examples = profile.examples.train if profile.examples else None
    return [profile.cap, profile.score, profile.reason or None, *values, examples]
