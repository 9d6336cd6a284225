"""The reference of the methods and of the errors, from their tables and docstrings."""

import inspect
import re
import sys

from markdown_table import markdown_table

from polyrank import errors
from polyrank.aggregators import AGGREGATORS
from polyrank.console import method_list
from polyrank.lora.factors import Part, Parts
from polyrank.registry import Registry

SETTING_OF = {
    "data set": "data",
    "partitioner": "partition",
    "model": "model",
    "criterion": "criteria",
    "allocator": "allocator",
    "aggregator": "aggregator",
    "server optimizer": "server_optimizer",
    "head init": "head_init",
}


def methods() -> str:
    """One table for each kind of method."""
    return "\n".join(_methods(table) for table in method_list.TABLES)


def aggregators() -> str:
    """What each aggregator has clients train and send, and what it keeps, as it declares it."""
    rows = []
    for name in AGGREGATORS:
        made = AGGREGATORS.build(name)
        odd, even = made.local(1), made.local(2)
        factors = [
            _factors(getattr(odd, what), getattr(even, what))
            for what in ("trains", "sends", "receives")
        ]
        factors[-1] += " of all slots" if odd.view == "all" else ""
        needs = ["equal ranks"] * made.equal_ranks + ["changes the base"] * made.changes_base
        keeps = ", ".join(f"`{contract}`" for contract in sorted(made.contracts))
        rows.append((f"`{name}`", *factors, keeps, ", ".join(needs)))
    return markdown_table(("aggregator", "trains", "sends", "is sent", "keeps", "beside"), rows)


def _factors(odd: Parts, even: Parts) -> str:
    """Name the factors of plain LoRA; of odd and of even rounds where they differ."""
    pair = (Part.A, Part.B)
    words = [", ".join(part.name for part in pair if part in parts) for parts in (odd, even)]
    return " or ".join(dict.fromkeys(word or "none" for word in words))


def error_classes() -> str:
    """Every error class, what it is a kind of, and the exit code it ends the command with."""
    rows = [
        (
            f"`{name}`",
            f"`{kind.__base__.__name__}`",
            inspect.getdoc(kind) or "",
            "2" if issubclass(kind, errors.SettingsError) else "1",
        )
        for name, kind in inspect.getmembers(errors, inspect.isclass)
        if kind.__module__ == errors.__name__
    ]
    return markdown_table(("error", "is a", "when", "exit code"), rows)


def papers() -> str:
    """What the file of each method says of its paper and of where it differs."""
    parts: list[str] = []
    for table in method_list.TABLES:
        parts.append(f"## {table.kind.capitalize()}")
        for name in table:
            module = sys.modules[table.load(name).__module__]
            said = re.sub(r"https?://[^\s;,)]*[^\s;,).:]", r"<\g<0>>", inspect.getdoc(module) or "")
            parts.append(f"### `{name}`\n\n{said}")
    return "\n\n".join(parts)


def _methods(table: Registry[object]) -> str:
    rows = [
        (
            f"`{entry.name}`",
            entry.does,
            "<br>".join(f"`{option}`" for option in entry.options),
            f"`{table.entries[entry.name].partition(':')[0].replace('.', '/')}.py`",
        )
        for entry in method_list.methods(table)
    ]
    head = ("name", "does", "options and defaults", "file in `src`")
    title = f"## {table.kind.capitalize()}: `{SETTING_OF[table.kind]}`"
    more = f"Installed packages add to it by entry points of the group `{table.group}`."
    return f"{title}\n\n{markdown_table(head, rows)}\n\n{more}\n"
