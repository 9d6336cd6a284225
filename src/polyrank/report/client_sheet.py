"""The table of clients: criteria, score, ranks and the reason for them."""

from collections.abc import Sequence

from polyrank.record.lines import ProfileLine
from polyrank.record.schema import RanksByModule
from polyrank.record.sent import in_words, least_share
from polyrank.report.parts import Cell, Column, CsvData, Sheet
from polyrank.report.reading import Run
from polyrank.report.words import percent, rank_range, readable

FEW_MODULES = 6  # more than this are shown as a range; the download has them all


def client_sheet(run: Run, ordered: Sequence[ProfileLine]) -> Sheet:
    """Build the table of clients in the order given."""
    criteria = list(dict.fromkeys(name for profile in ordered for name in profile.criteria))
    modules = modules_of(run, ordered)
    alike = all(len(set(ranks_told(run, profile).values())) < 2 for profile in ordered)
    shown = [] if alike or len(modules) > FEW_MODULES else modules
    rank = "Rank sent" if run.sent else "Rank"
    columns = [Column("Client"), Column(rank), *(Column(f"{rank} of {name}") for name in shown)]
    columns += [Column("Least share held", percent), Column("Slots trained")]
    columns += [Column("Cap"), Column("Score"), Column("Why", prose=True)]
    columns += [*(Column(readable(name)) for name in criteria), Column("Training examples")]
    titles = ["client", *(f"{rank.lower()} of {name}" for name in modules)]
    titles += ["least share held", "slots trained"] if run.sent else []
    return Sheet(
        "clients",
        "Every client: its rank, what led to it, and the reason in words",
        columns,
        [
            [
                *(p.client, _rank(run, p), *_ranks(run, p, shown)),
                *(_sent(run, p) or (None, None)),
                *_evidence(run, p, criteria),
            ]
            for p in ordered
        ],
        CsvData(
            [*titles, "cap", "score", "reason", *criteria, "training examples"],
            [
                [p.client, *_ranks(run, p, modules), *_sent(run, p), *_evidence(run, p, criteria)]
                for p in ordered
            ],
        ),
    )


def ranks_told(run: Run, profile: ProfileLine) -> RanksByModule:
    """Return the ranks that a client sent last, where it sends its change; else those it has."""
    if not run.sent:
        return run.ranks_of(profile)
    sent = run.sent.get(profile.client)
    return (sent and sent.ranks) or {}


def modules_of(run: Run, profiles: Sequence[ProfileLine]) -> list[str]:
    """Return the modules that any of the clients adapts, in the order met."""
    return list(dict.fromkeys(name for profile in profiles for name in ranks_told(run, profile)))


def _rank(run: Run, profile: ProfileLine) -> Cell:
    values = list(ranks_told(run, profile).values())
    return values[0] if len(set(values)) == 1 else rank_range(values)


def _ranks(run: Run, profile: ProfileLine, modules: Sequence[str]) -> list[Cell]:
    return [ranks_told(run, profile).get(name) for name in modules]


def _sent(run: Run, profile: ProfileLine) -> list[Cell]:
    """Return what a client's rank holds of its change, and of how many slots; nothing else."""
    if not run.sent:
        return []
    sent = run.sent.get(profile.client)
    return [least_share(sent) if sent else None, rank_range([*run.ranks_of(profile).values()])]


def _why(run: Run, profile: ProfileLine) -> Cell:
    if not run.sent:
        return profile.reason or None
    sent = run.sent.get(profile.client)
    return in_words(sent) if sent else "no update of it was taken yet"


def _evidence(run: Run, profile: ProfileLine, criteria: Sequence[str]) -> list[Cell]:
    values = [profile.criteria.get(name) for name in criteria]
    examples = profile.examples.train if profile.examples else None
    return [profile.cap, profile.score, _why(run, profile), *values, examples]
