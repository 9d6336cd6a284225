"""The reference of the command line, from what typer knows of each command."""

import inspect
from pathlib import Path
from typing import get_args

from markdown_table import markdown_table
from typer import Context
from typer.models import ArgumentInfo, CommandInfo

from polyrank.cli import app
from polyrank.console.help_text import EXAMPLES


def commands() -> str:
    """Each command with its usage, arguments and options, as typer has them."""
    return "\n".join(_command(command) for command in app.registered_commands)


def _command(command: CommandInfo) -> str:
    does = command.callback
    assert does is not None
    words, rows = [f"polyrank {command_name(command)}"], []
    for parameter in inspect.signature(does).parameters.values():
        if parameter.annotation is Context:
            continue
        shown, required = _shown(parameter)
        many = "..." if "list[" in str(parameter.annotation) and not shown.endswith("...") else ""
        words.append(f"{shown}{many}" if required else f"[{shown}]{many}")
        plain = parameter.default not in (None, False, inspect.Parameter.empty)
        help_text = parameter.annotation.__metadata__[0].help
        rows.append((f"`{shown}`", help_text, f"`{parameter.default}`" if plain else ""))
    words.sort(key=lambda word: "--" in word)
    usage = f"```text\n{_wrapped(words)}\n```"
    options = markdown_table(("argument or option", "meaning", "default"), rows) if rows else ""
    name = command_name(command)
    typed = "\n".join(EXAMPLES[name][1])
    examples = f"```sh\n{typed}\n```"
    said = [f"## polyrank {name}", inspect.getdoc(does), usage, options, examples]
    return "\n\n".join(part for part in said if part) + "\n"


def command_name(command: CommandInfo) -> str:
    """Return the word by which a command is called."""
    return command.name or getattr(command.callback, "__name__", "")


def _shown(parameter: inspect.Parameter) -> tuple[str, bool]:
    """Return an argument or option as it is typed, and whether it must be given."""
    kind, info = parameter.annotation.__origin__, parameter.annotation.__metadata__[0]
    required = parameter.default is inspect.Parameter.empty
    if isinstance(info, ArgumentInfo):
        return info.metavar or parameter.name.upper(), required
    named = [w for w in (info.default, *(info.param_decls or ())) if str(w).startswith("--")]
    option = next(iter(named), f"--{parameter.name.replace('_', '-')}")
    if kind is bool:
        return option, required
    of = [k for k in (kind, *get_args(kind)) if isinstance(k, type) and k is not type(None)]
    word = next((w for k, w in {int: "N", float: "NUMBER"}.items() if k in of), "TEXT")
    return f"{option} {info.metavar or ('PATH' if Path in of else word)}", required


def _wrapped(words: list[str]) -> str:
    lines = [words[0]]
    for word in words[1:]:
        if len(lines[-1]) + len(word) > 78:
            lines.append("   ")
        lines[-1] += f" {word}"
    return "\n".join(lines)
