"""The tables of needs that are known or measured, from a result file of ``benchmarks/facts.py``."""

import statistics
import textwrap
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from markdown_table import markdown_table, percent, spread

Seeds = Mapping[str, Mapping[str, Any]]  # of a place, by seed
FACTS = "facts"


def tables(result: Mapping[str, Any]) -> list[str]:
    """Write the tables of the page."""
    places: Mapping[str, Seeds] = result["known_need"]
    made = [by_facts(places[FACTS]), needs(places), orders(places)]
    if any("found" in of for of in places[FACTS].values()):
        made.append(found(places))
    if any("beside" in of for seeds in places.values() for of in seeds.values()):
        made.append(beside(places))
    return made


def by_facts(seeds: Seeds) -> str:
    """Write what share of its facts every client recalls, by rank, and its need."""
    alone = [of["alone"] for of in seeds.values() if "alone" in of]
    ranks = list(next(iter(alone[0]["reached"].values())))
    rows = []
    for client in alone[0]["need"]:
        shares = [mean(of["reached"][client][rank] for of in alone) for rank in ranks]
        own = [of["need"][client] for of in alone]
        rows.append((facts_of(client), *(f"{100 * x:.0f}" for x in shares), spread(own)))
    head = ("facts", *(f"rank {rank}" for rank in ranks), "need")
    told = (
        "Facts recalled, in percent, by the own model of a client that trains alone, and the "
        "smallest rank that recalls 95 % of what the largest one does, between two ranks by the "
        f"logarithm. {over(len(alone))}"
    )
    return with_text(head, rows, told)


def needs(places: Mapping[str, Seeds]) -> str:
    """Write how far clients of a place differ in need, and what rank 1 loses."""
    rows = []
    for name, seeds in places.items():
        alone = [of["alone"] for of in seeds.values() if "alone" in of]
        if not alone:
            continue
        each = [list(of["need"].values()) for of in alone]
        ends = [mean(map(end, each)) for end in (min, statistics.median, max)]
        lost = [lost_at_one(of["reached"]) for of in alone]
        cells = [f"{x:.1f}" for x in ends]
        slots = [float(of["found"]["slots"][-1]) for of in seeds.values() if "found" in of]
        cells += [spread(lost), spread(slots, digits=0), str(len(alone))]
        rows.append((name, str(len(each[0])), *cells))
    head = ("place", "clients", "least need", "median", "largest", "lost at rank 1")
    head += ("slots by need", "seeds")
    told = (
        "Needs of a place's clients, alone, mean over seeds. Lost at rank 1: points that a "
        "client's own model recalls or answers right less than with the largest rank tried, mean "
        "over clients. Slots by need: of the global model after a federation with "
        '`allocator = "need"`, 8 at its start. '
        "Mean ± standard deviation over seeds."
    )
    return with_text(head, rows, told)


def orders(places: Mapping[str, Seeds]) -> str:
    """Write Kendall's tau of everything that orders clients with what they need."""
    taus = {
        place: {seed: of["tau"] for seed, of in seeds.items() if of.get("tau")}
        for place, seeds in places.items()
    }
    taus = {place: of for place, of in taus.items() if of}
    names = dict.fromkeys(name for of in taus.values() for tau in of.values() for name in tau)
    rows = []
    for name in names:
        cells = [told([tau[name] for tau in of.values() if name in tau]) for of in taus.values()]
        rows.append((name, *cells))
    seeds = ", ".join(f"{place}: {len(of)}" for place, of in taus.items())
    text = (
        "Kendall's tau-b between what is measured of clients and what they need, mean ± standard "
        'deviation over seeds; 1 is the same order, -1 the reverse. "alike": it, or the need, is '
        f"the same for all clients. Empty: not measured. Seeds: {seeds}."
    )
    return with_text(("order by", *taus), rows, text)


def found(places: Mapping[str, Seeds]) -> str:
    """Write what ranks by need sent of each client with facts."""
    rows = []
    for name, seeds in places.items():
        runs = [of["found"] for of in seeds.values() if "found" in of]
        if not name.startswith(FACTS) or not runs:
            continue
        clients = sorted(runs[0]["sent"], key=lambda client: int(facts_of(client)))
        slots = mean(run["slots"][-1] for run in runs)
        recalled = mean(mean(run["reached"].values()) for run in runs)
        sent = [f"{mean(run['sent'][c] for run in runs):.1f}" for c in clients]
        rows.append((name, *sent, f"{slots:.0f}", f"{100 * recalled:.0f}"))
    head = ("place", *(f"{facts_of(c)} facts" for c in clients), "slots", "recalled")
    told = (
        '`allocator = "need"`, 20 rounds: triples that each client sent, mean over rounds and '
        "modules; the slots of the global model in the last round, and the share of the clients' "
        "facts that it recalls, in percent, mean over clients."
    )
    return with_text(head, rows, told)


def beside(places: Mapping[str, Seeds]) -> str:
    """Write what one client's rank changes where the others' stays."""
    rows: list[tuple[str, ...]] = []
    for place, seeds in places.items():
        cells = [of["beside"] for of in seeds.values() if "beside" in of]
        for rank in cells[0]["ranks"] if cells else ():
            of = [(cell["client"], cell["ranks"][str(rank)]) for cell in cells]
            shared = [run["global"][client] for client, run in of]
            own = [run["own"][client] for client, run in of]
            rest = [mean(x for c, x in run["global"].items() if c != client) for client, run in of]
            told = (percent(values) for values in (shared, own, rest))
            rows.append((place, str(rank), *told, str(len(of))))
    head = ("place", "its rank", "global model", "its own model", "the others, global", "seeds")
    text = (
        "What the client that needs most recalls or answers right, in percent, when the federation "
        "is over, by its rank, and the mean of all others, whose rank is the largest of these: "
        "default aggregator. Mean ± standard deviation over seeds."
    )
    return with_text(head, rows, text)


def lost_at_one(reached: Mapping[str, Mapping[str, float]]) -> float:
    """Return the points that rank 1 is behind the largest rank, mean over clients."""
    ranks = sorted(next(iter(reached.values())), key=int)
    return 100 * mean(of[ranks[-1]] - of[ranks[0]] for of in reached.values())


def facts_of(client: str) -> str:
    """Return how many facts a client has, by its name."""
    return str(int(client.rpartition("-")[2]))


def told(taus: Sequence[float | None]) -> str:
    """Write what was measured of an order."""
    if not taus:
        return ""
    known = [tau for tau in taus if tau is not None]
    return spread(known, digits=2) if known else "alike"


def mean(values: Iterable[float]) -> float:
    """Return the mean."""
    return statistics.mean(values)


def over(seeds: int) -> str:
    """Say what the spread is of."""
    return f"Mean ± standard deviation over {seeds} seeds." if seeds > 1 else "One seed."


def with_text(head: Sequence[str], rows: Sequence[tuple[str, ...]], text: str) -> str:
    """Return a table with what is to be known of it below."""
    return f"{markdown_table(tuple(head), list(rows))}\n\n{textwrap.fill(text, 120)}"
