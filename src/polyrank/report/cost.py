"""What it cost: bytes and seconds by round, parameters, and what each client sent."""

from collections.abc import Sequence

from polyrank.record.lines import UpdateLine
from polyrank.report.cost_figures import bytes_figure, seconds_figure
from polyrank.report.headline import headline
from polyrank.report.parts import Column, Part, Section, Sheet, Tile
from polyrank.report.reading import Run, natural_key
from polyrank.report.words import duration, number, percent, plural, size


def cost(run: Run) -> Section:
    """Build the section on bytes, seconds and parameters."""
    parts: list[Part] = [_tiles(run), *bytes_figure(run), *seconds_figure(run), *_clients(run)]
    return Section("cost", "What did it cost?", _lead(run), parts)


def _lead(run: Run) -> str:
    numbers = headline(run)
    sent = f"Clients sent {size(numbers.bytes_up)} up and received {size(numbers.bytes_down)}"
    took = _total(run)
    return f"{sent} in {plural(numbers.rounds, 'round')}" + (
        f"; it took {duration(took)}." if took else "."
    )


def _total(run: Run) -> float:
    return sum(value or 0.0 for timing in run.timings for value in timing.seconds.values())


def _tiles(run: Run) -> list[Tile]:
    numbers = headline(run)
    tiles = [
        Tile("Sent up", size(numbers.bytes_up), "clients to server"),
        Tile("Sent down", size(numbers.bytes_down), "server to clients"),
    ]
    if run.timings:
        tiles.append(Tile("Time", duration(_total(run)), "from the start to the last evaluation"))
    if run.summary:
        base, trained = run.summary.parameters.base, run.summary.parameters.trained
        share = f"{percent(trained / base)} of {number(base)} in the base model" if base else ""
        tiles.append(Tile("Trained parameters", number(trained), share))
    if numbers.mean_rank is not None:
        tiles.append(Tile("Mean rank", number(numbers.mean_rank), "over clients and modules"))
    return tiles


def _clients(run: Run) -> list[Part]:
    if not run.updates:
        return []
    by_client: dict[str, list[UpdateLine]] = {}
    for update in run.updates:
        by_client.setdefault(update.client, []).append(update)
    columns = [
        Column("Client"),
        Column("Rounds trained"),
        Column("Examples"),
        Column("First loss"),
        Column("Last loss"),
        Column("Bytes up", size),
        Column("Bytes down", size),
    ]
    rows = [_row(client, by_client[client]) for client in sorted(by_client, key=natural_key)]
    caption = "What each client did, all rounds together"
    return [Sheet("client-updates", caption, columns, rows, folded=True)]


def _row(client: str, updates: Sequence[UpdateLine]) -> list[str | float | None]:
    first, last = updates[0], updates[-1]
    up, down = sum(u.bytes.up for u in updates), sum(u.bytes.down for u in updates)
    return [client, len(updates), last.examples, first.loss, last.loss, up, down]
