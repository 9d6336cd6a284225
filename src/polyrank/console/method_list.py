"""All methods by kind, with what each does and its options, read from the code itself."""

import inspect
from collections.abc import Iterator
from dataclasses import dataclass

from rich.console import Console
from rich.table import Table as Grid
from rich.text import Text

from polyrank.aggregators import AGGREGATORS
from polyrank.allocators import ALLOCATORS
from polyrank.criteria import CRITERIA
from polyrank.datasets import DATASETS
from polyrank.head_inits import HEAD_INITS
from polyrank.models import FROM_DATA, MODELS
from polyrank.partitioners import PARTITIONERS
from polyrank.registry import Registry, option_parameters
from polyrank.server_optimizers import SERVER_OPTIMIZERS

TABLES: tuple[Registry[object], ...] = (
    DATASETS,
    PARTITIONERS,
    MODELS,
    CRITERIA,
    ALLOCATORS,
    AGGREGATORS,
    SERVER_OPTIMIZERS,
    HEAD_INITS,
)


@dataclass(frozen=True)
class Listed:
    """One method: its name, the first line of its docstring, and its options with defaults."""

    name: str
    does: str
    options: tuple[str, ...]


def methods(table: Registry[object]) -> Iterator[Listed]:
    """Yield the entries of a table."""
    for name in table:
        target = table.load(name)
        options = tuple(
            p.name if p.default is p.empty else f"{p.name} = {p.default!r}"
            for p in option_parameters(target).values()
            if not (table is MODELS and p.name in FROM_DATA)
        )
        yield Listed(name, (inspect.getdoc(target) or "").partition("\n")[0], options)


def print_methods(console: Console) -> None:
    """Print all tables; fits 80 columns."""
    for table in TABLES:
        console.print(Text(table.kind, style="bold"))
        grid = Grid.grid(padding=(0, 2))
        grid.add_column(min_width=23)
        grid.add_column(overflow="fold")
        for entry in methods(table):
            grid.add_row(Text(f"  {entry.name}"), Text(entry.does))
            for option in entry.options:
                grid.add_row("", Text(option, style="dim"))
        console.print(grid)
