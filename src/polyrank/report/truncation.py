"""Charts of how many slots a model needs: truncation curves, and the server's slots by round."""

from collections.abc import Iterable, Mapping, Sequence

from polyrank.record.lines import CutLoss
from polyrank.record.schema import RanksByModule
from polyrank.record.truncation import NEARLY, in_words, rank_that_suffices
from polyrank.report.charts import COLOURS, line, round_axis, short_names
from polyrank.report.parts import Cell, CsvData, Figure, Part, Trace
from polyrank.report.reading import Run

Curves = Sequence[tuple[str, Sequence[CutLoss]]]  # of which model, and its curve


def truncation(run: Run) -> list[Part]:
    """Return the chart of the loss over the number of slots kept, or nothing where none is known.

    Of many rounds some are drawn, the first and the last among them; the download has all.
    """
    curves = _curves(run)
    if not curves:
        return []
    drawn = min(COLOURS, len(curves))
    places = [round(k * (len(curves) - 1) / max(1, drawn - 1)) for k in range(drawn)]
    traces = [
        line(name, [c.slots for c in curve], [c.loss for c in curve], index, ".4~r")
        for index, (name, curve) in enumerate(curves[place] for place in places)
    ]
    rows: list[list[Cell]] = [[name, c.slots, c.loss] for name, curve in curves for c in curve]
    caption = (
        "The loss of the global model cut to its first slots, on rows that nobody trains on: where "
        f"a line is flat, further slots hold nothing. Last measured: {in_words(curves[-1][1])}"
    )
    layout: Trace = {
        "xaxis": {"title": {"text": "slots kept"}, "tickformat": "d", "rangemode": "tozero"},
        "yaxis": {"title": {"text": "loss"}},
    }
    return [
        Figure(
            "truncation",
            "What fewer slots would lose",
            caption,
            traces,
            layout,
            CsvData(["model", "slots", "loss"], rows),
            wide=True,
            height=420,
        )
    ]


def server_slots(run: Run) -> list[Part]:
    """Return the chart of slots by round, with what the curves say suffices."""
    steps = _slots(run)
    if not steps:
        return []
    last = max(run.rounds[-1].round if run.rounds else 1, *steps)
    rounds = list(range(1, last + 1))
    groups: dict[tuple[int, ...], list[str]] = {}
    modules = list(dict.fromkeys(name for of in steps.values() for name in of))
    for module, short in zip(modules, short_names(modules), strict=True):
        groups.setdefault(_by_round(steps, module, last), []).append(short)
    traces = [
        line(_named(names, len(groups)), rounds, slots, index, "d")
        for index, (slots, names) in enumerate(list(groups.items())[: COLOURS - 2])
    ]
    sent = [(x.round, x.down) for x in run.rounds if x.down]
    if sent:
        rounds, slots = [n for n, _ in sent], [k for _, k in sent]
        traces.append(line("sent to clients", rounds, slots, COLOURS - 2, "d"))
    for trace in traces:
        trace["line"]["shape"] = "hv"
    said = [(x.round, rank_that_suffices(x.cuts)) for x in run.rounds if x.cuts]
    if said:
        title = f"Enough for {NEARLY} of what all slots gain"
        marks = line(title, [n for n, _ in said], [k for _, k in said], COLOURS - 1, "d")
        traces.append(marks | {"mode": "markers"})
    rows: list[list[Cell]] = [[n, m, k] for n, of in steps.items() for m, k in of.items()]
    return [
        Figure(
            "server-slots",
            "Slots by round",
            "How many slots of a module clients train in a round; how many of these are sent to "
            "them, the others start empty; and how many of the model before it were enough.",
            traces,
            {
                "xaxis": round_axis(last),
                "yaxis": {"title": {"text": "slots"}, "rangemode": "tozero", "tickformat": "d"},
            },
            CsvData(["from round", "module", "slots"], rows),
            wide=True,
        )
    ]


def _curves(run: Run) -> Curves:
    """Return every truncation curve with the name of its model, in order."""
    curves = [(f"after round {x.round - 1}", x.cuts) for x in run.rounds if x.cuts]
    if run.summary and run.summary.truncation:
        curves.append(("at the end, as exported", run.summary.truncation.curve))
    return curves


def _slots(run: Run) -> dict[int, dict[str, int]]:
    """Return the most slots that any client trains of each module, where they change."""
    now = {profile.client: profile.ranks for profile in run.profiles}
    found = {1: _most(now.values())}
    for change in run.changes:
        now[change.client] = change.ranks
        found[change.round] = _most(now.values())
    return {number: of for number, of in found.items() if of}


def _most(held: Iterable[RanksByModule]) -> dict[str, int]:
    most: dict[str, int] = {}
    for ranks in held:
        for module, rank in ranks.items():
            most[module] = max(rank, most.get(module, 0))
    return most


def _by_round(steps: Mapping[int, Mapping[str, int]], module: str, last: int) -> tuple[int, ...]:
    slots, now = [], 0
    for number in range(1, last + 1):
        now = steps.get(number, {}).get(module, now)
        slots.append(now)
    return tuple(slots)


def _named(modules: Sequence[str], groups: int) -> str:
    if groups == 1:
        return "Slots"
    more = f" and {len(modules) - 1} more" if len(modules) > 1 else ""
    return f"Slots of {modules[0]}{more}"
