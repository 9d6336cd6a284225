"""What a finished run with ranks by need prints beside its clients: slots, and their curves."""

from collections.abc import Mapping, Sequence

from rich.table import Table
from rich.text import Text

from polyrank.record.lines import CutLoss, RoundLine, UpdateLine
from polyrank.record.outcome import mean
from polyrank.record.sent import mean_sent
from polyrank.record.summary import Summary
from polyrank.record.truncation import in_words

MOST_ROUNDS, MOST_SLOTS = 6, 9  # rows and columns of a table of 80 columns

EXPLAINED = (
    "rank: of the change that a client sent last; holds: at least so much of every module's change"
)


def curves_table(rounds: Sequence[RoundLine], summary: Summary) -> Table | None:
    """Return the loss of the global model cut to its first slots, a row a round; None if unknown.

    Of many rounds some are shown, the first and the last among them.
    """
    curves = [(f"after round {line.round - 1}", line.cuts) for line in rounds if line.cuts]
    if summary.truncation:
        curves.append(("as exported", summary.truncation.curve))
    if not curves:
        return None
    rows = min(MOST_ROUNDS, len(curves))
    places = [round(k * (len(curves) - 1) / max(1, rows - 1)) for k in range(rows)]
    slots = [cut.slots for cut in curves[-1][1]][-MOST_SLOTS:]
    table = Table(box=None, pad_edge=False, title="Loss of the global model cut to its first slots")
    table.title_justify, table.title_style = "left", "italic"
    table.add_column("slots kept")
    for number in slots:
        table.add_column(f"{number}", justify="right")
    for name, curve in (curves[place] for place in places):
        table.add_row(name, *(_cell(curve, number) for number in slots))
    return table


def need_rows(sent: Mapping[str, UpdateLine], summary: Summary) -> list[tuple[str, str]]:
    """Return what the server's slots and the clients' ranks came to, as name and value."""
    trained = max((rank for of in summary.ranks.values() for rank in of.values()), default=0)
    curve = summary.truncation.curve if summary.truncation else ()
    slots = f"{curve[-1].slots if curve else trained} at the end, clients train {trained}"
    means = [mean_sent(update) for update in sent.values()]
    ranks = f"{min(means):.1f} to {max(means):.1f}, mean {mean(means):.1f}"
    rows = [("slots", slots), ("ranks sent", f"{ranks} ({summary.allocator})")]
    if curve:
        rows.append(("suffices", in_words(curve)))
    return rows


def _cell(curve: Sequence[CutLoss], slots: int) -> Text:
    loss = next((cut.loss for cut in curve if cut.slots == slots), None)
    return Text("" if loss is None else f"{loss:.3g}")
