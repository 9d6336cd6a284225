"""The table of clients: criteria, score, ranks and the reason for them."""

from collections.abc import Callable, Mapping, Sequence

from polyrank.record.lines import ProfileLine
from polyrank.record.schema import RanksByModule
from polyrank.record.sent import in_words, least_share
from polyrank.report.parts import Cell, Column, CsvData, Sheet
from polyrank.report.reading import Run
from polyrank.report.words import percent, rank_range, readable, telling

COUNTED = "sample_count"  # a criterion that is the number of training examples
FEW_MODULES = 6  # more than this are shown as a range; the download has them all


def client_sheet(run: Run, ordered: Sequence[ProfileLine]) -> Sheet:
    """Build the table of clients in the order given."""
    criteria = list(dict.fromkeys(name for profile in ordered for name in profile.criteria))
    modules = modules_of(run, ordered)
    alike = all(len(set(ranks_told(run, profile).values())) < 2 for profile in ordered)
    shown = [] if alike or len(modules) > FEW_MODULES else modules
    rank = "Rank sent" if run.sent else "Rank"
    show = {name: telling(p.criteria.get(name) for p in ordered) for name in criteria}
    columns = [Column("Client"), *(Column(f"{rank} of {name}") for name in shown)]
    columns += [] if shown else [Column(rank)]
    columns += [Column("Least share held", percent), Column("Slots trained")]
    columns += [Column("Why", prose=True), Column("Decided by")]
    columns += [Column("Score", telling(p.score for p in ordered)), Column("Cap")]
    columns += [Column(readable(name), show[name]) for name in criteria]
    columns += [] if COUNTED in criteria else [Column("Training examples")]
    titles = ["client", *(f"{rank.lower()} of {name}" for name in modules)]
    titles += ["least share held", "slots trained"] if run.sent else []

    def row(p: ProfileLine) -> list[Cell]:
        chosen = _ranks(run, p, shown) if shown else [_rank(run, p)]
        sent = _sent(run, p) or [None, None]
        told = [p.client, *chosen, *sent, _why(run, p), _decided(p, show)]
        return [*told, *_evidence(p, criteria)][: len(columns)]

    return Sheet(
        "clients",
        "Every client: its rank, the reason, and what was measured",
        columns,
        [row(p) for p in ordered],
        CsvData(
            [*titles, "reason", "score", "cap", *criteria, "training examples"],
            [
                [
                    *(p.client, *_ranks(run, p, modules), *_sent(run, p)),
                    *(_why(run, p), *_evidence(p, criteria)),
                ]
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


def _evidence(profile: ProfileLine, criteria: Sequence[str]) -> list[Cell]:
    values = [profile.criteria.get(name) for name in criteria]
    examples = profile.examples.train if profile.examples else None
    return [profile.score, profile.cap, *values, examples]


def _decided(profile: ProfileLine, show: Mapping[str, Callable[[float | None], str]]) -> Cell:
    """Return the criterion that moved the score most, with its value."""
    moved = {name: abs(value or 0.0) for name, value in (profile.contributions or {}).items()}
    most = max(moved, key=lambda name: moved[name], default=None)
    if most is None or most not in show:
        return None
    return f"{readable(most)} {show[most](profile.criteria.get(most))}"
