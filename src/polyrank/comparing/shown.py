"""What a comparison prints: tables of its arms, what failed, and where everything is."""

from collections.abc import Sequence

from rich.console import Console, JustifyMethod
from rich.table import Table
from rich.text import Text

from polyrank.comparing.comparison import Comparison
from polyrank.comparing.tables import table
from polyrank.plain import one_line

CAME = ("seeds", "accuracy", "perplexity", "difference", "worst client", "own models")
WIDEST = 24  # characters that a name may have before it is broken


def show(made: Comparison, console: Console) -> None:
    """Print what arms came to, what they cost, and how long they would take on devices."""
    heads, rows = table(made.arm_rows, made.target)
    groups: list[list[int]] = [[], [], []]
    for at, head in enumerate(heads[1:], 1):
        groups[0 if head.startswith(CAME) else 2 if "devices" in head else 1].append(at)
    for kept in groups:
        part = [[row[at] for at in (0, *kept)] for row in rows]
        if kept:
            _print([heads[at] for at in (0, *kept)], [r for r in part if any(r[1:])], console)
    against = made.cells[0].arm
    said = f"difference to {against}, seed by seed: mean and 90 % interval of Student's t"
    lines = [said, *(f"failed: {name}: {error}" for name, error in made.failed.items())]
    lines += [f"folder: {made.folder}", f"page: {made.page}"]
    for line in lines:
        console.print(Text(line), soft_wrap=True)


def _print(heads: Sequence[str], rows: Sequence[Sequence[str]], console: Console) -> None:
    grid = Table(box=None, pad_edge=False)
    for at, head in enumerate(heads):
        most = WIDEST if not at else console.width
        width = min(most, max(len(text) for text in (*head.split(), *(row[at] for row in rows))))
        side: JustifyMethod = "right" if at else "left"
        grid.add_column(Text(head), justify=side, width=width, overflow="fold")
    for row in rows:
        grid.add_row(*(Text(one_line(text)) for text in row))
    console.print(grid)
    console.print()
