"""Write the parts of the documentation that come from the code, while the site is built.

A page holds ``<!-- reference: NAME -->``; as a hook of MkDocs this file puts the text of
the function of that name in its place. Nothing generated is stored, so nothing can drift.
"""

import inspect
import re
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, get_args

from typer.models import ArgumentInfo, CommandInfo

from polyrank import errors
from polyrank.aggregators import AGGREGATORS
from polyrank.cli import app
from polyrank.console import method_list
from polyrank.registry import Table
from polyrank.settings.schema import CHANGEABLE_ON_RESUME, Settings

MARK = re.compile(r"<!-- reference: (\w+) -->")

SETTINGS = {
    "name": "Name of the run; the file's name without `.toml` if left out.",
    "seed": "Root of every random stream of the run.",
    "rounds": "Rounds in all.",
    "workers": "Processes that train clients, of one thread each; the result does not change.",
    "task_timeout": "Seconds that a worker has for a task before another one does it again.",
    "device": "Where clients train; `auto` takes a GPU if torch sees one.",
    "trackers": "Experiment trackers to log to; needs `polyrank[track]`.",
    "cohort_size": "Clients drawn in each round; all if neither this nor the fraction is given.",
    "cohort_fraction": "Share of the clients drawn in each round, at least one client.",
    "quorum": "Good updates that a round needs; all of them where the cohort is smaller.",
    "attempts": "How often a round is tried, each time with a new cohort, before the run stops.",
    "norm_bound": "How many times as large as the others' an update may be; 0 for any size.",
    "base": "Frozen weights: `random`, as the model is built, or a safetensors file of its state.",
    "init_adapter": "PEFT folder whose adapter fills the first slots at the start.",
    "criteria": "What is measured of each client, for allocators that read criteria.",
    "data.source": "Data set, file, list of files (one a client), or a loader of your own.",
    "data.test": "Share of the rows that become test rows, if the data brings none.",
    "data.validation": "Share of the training rows on which rounds are chosen.",
    "data.client_test": "Share of each client's rows that is its own test part.",
    "partition.kind": "Rule that splits the training rows over clients.",
    "partition.clients": "Number of clients; `natural` needs none. 10 goes with the default kind.",
    "model.kind": "Model, or a function of your own that builds one.",
    "adapter.targets": "Modules with LoRA: `all` linear and convolutional, `all-linear`, or names.",
    "adapter.extras": "What else is trained: `all`, `none`, names of parameters or modules; `auto` "
    "is the head of a pre-trained model, all of another.",
    "adapter.scaling": "The constant s of every update s · B · A, for all clients and ranks.",
    "ranks.r_min": "Smallest rank that is chosen.",
    "ranks.r_max": "Largest rank: the server's number of slots.",
    "ranks.modules.MODULE.r_min": "Smallest rank in this module.",
    "ranks.modules.MODULE.r_max": "Largest rank in this module.",
    "ranks.budget.mean_rank": "The most that the mean rank over clients and modules may be.",
    "ranks.budget.parameters": "The most factor numbers that all clients together may hold.",
    "ranks.budget.bytes": "The same in bytes, at four a number.",
    "ranks.caps.CLIENT": "Largest rank that this client can hold in any module.",
    "allocator.kind": "Rule that gives each client its ranks.",
    "aggregator.kind": "Rule that makes the next global model from the updates.",
    "server_optimizer.kind": "What the server does with the step to the aggregated model.",
    "head_init.kind": "Where a classifier's head starts; `auto`: a new one from sums of features.",
    "average": "Share of the exported running mean that a round leaves; 0: the last model itself.",
    "training.optimizer": "Optimiser of the clients; it starts afresh in each round.",
    "training.learning_rate": "Step size, before the schedule.",
    "training.head_learning_rate": "Step size of the extras; left out, that of the adapters.",
    "training.momentum": "Momentum of `sgd`; other optimisers refuse it.",
    "training.weight_decay": "Weight decay of the optimiser.",
    "training.epochs": "Passes over its rows that a client trains in a round.",
    "training.steps": "Optimiser steps in a round, instead of epochs.",
    "training.batch_size": "Rows in one step.",
    "training.clip_norm": "Largest norm of the gradient; left out, nothing is clipped.",
    "training.prox_mu": "FedProx: pull towards the model of the round's start; 0 is none.",
    "training.local_loss": "`calibrated` adds the log of the client's label shares to the logits.",
    "training.accumulate": "Parts in which a batch goes through the model; the step is the same.",
    "training.autocast": "Mixed precision of training and evaluation.",
    "training.checkpointing": "Compute activations twice, to hold fewer; `hf` models only.",
    "training.schedule": "How the learning rate falls over the rounds.",
    "probe.steps": "Steps that every client trains to measure criteria that read losses.",
    "probe.epsilon": "Laplace noise of scale 1/epsilon on label counts; left out, none.",
    "pretrain.share": "Share of the training rows that is public and trains the base.",
    "pretrain.epochs": "Passes over the public rows.",
    "pretrain.learning_rate": "Step size of the pre-training, with Adam.",
    "pretrain.batch_size": "Rows in one step of the pre-training.",
    "evaluation.every": "Rounds from one evaluation to the next; the last round always counts.",
    "evaluation.target_accuracy": "Test accuracy whose first round the summary names.",
    "evaluation.global_model": "`false`: judge the clients' own models only, on their own rows.",
}

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


def on_page_markdown(markdown: str, **_: Any) -> str:  # noqa: ANN401 - what MkDocs gives
    """Fill in the marks of a page; MkDocs calls this."""
    return MARK.sub(lambda mark: PARTS[mark[1]](), markdown)


def commands() -> str:
    """Each command with its usage, arguments and options, as typer has them."""
    return "\n".join(_command(command) for command in app.registered_commands)


def settings() -> str:
    """Every settings key with its type, default and one line."""
    rows = [
        (f"`{key}`", kind, f"`{default}`" if default else "", SETTINGS[key])
        for key, kind, default in setting_keys()
    ]
    late = ", ".join(f"`{key}`" for key in sorted(CHANGEABLE_ON_RESUME))
    table = _table(("key", "type", "default", "meaning"), rows)
    return f"{table}\n\nKeys that may change on resume: {late}."


def setting_keys() -> Iterator[tuple[str, str, str]]:
    """Yield key, type in words, and default as TOML, empty where there is none."""
    schema = Settings.model_json_schema()
    defaults = Settings().model_dump()
    for key, node in _leaves(schema, schema["$defs"], ""):
        value: Any = defaults
        for part in key.split("."):
            value = value.get(part) if isinstance(value, Mapping) else None
        default = node.get("default") if value is None else value
        yield key, _kind(node), "" if default is None else _toml(default)


def methods() -> str:
    """One table for each kind of method."""
    return "\n".join(_methods(table) for table in method_list.TABLES)


def aggregators() -> str:
    """What each aggregator has clients train and send, and what it keeps, as it declares it."""
    rows = []
    for name in AGGREGATORS:
        made = AGGREGATORS.make(name, {})()
        odd, even = made.local(1), made.local(2)
        factors = [
            _factors(getattr(odd, what), getattr(even, what))
            for what in ("trains", "sends", "receives")
        ]
        factors[-1] += " of all slots" if odd.view == "all" else ""
        needs = ["equal ranks"] * made.equal_ranks + ["changes the base"] * made.changes_base
        keeps = ", ".join(f"`{contract}`" for contract in sorted(made.contracts))
        rows.append((f"`{name}`", *factors, keeps, ", ".join(needs)))
    return _table(("aggregator", "trains", "sends", "is sent", "keeps", "beside"), rows)


def _factors(odd: str, even: str) -> str:
    """Name factors in words; of odd and of even rounds where they differ."""
    words = {"ab": "A, B", "a": "A", "b": "B", "": "none"}
    return words[odd] if odd == even else f"{words[odd]} or {words[even]}"


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
    return _table(("error", "is a", "when", "exit code"), rows)


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


PARTS = {
    "commands": commands,
    "settings": settings,
    "methods": methods,
    "aggregators": aggregators,
    "errors": error_classes,
    "papers": papers,
}


def _command(command: CommandInfo) -> str:
    does = command.callback
    assert does is not None
    words, rows = [f"polyrank {command_name(command)}"], []
    for parameter in inspect.signature(does).parameters.values():
        shown, required = _shown(parameter)
        many = "..." if "list[" in str(parameter.annotation) and not shown.endswith("...") else ""
        words.append(f"{shown}{many}" if required else f"[{shown}]{many}")
        plain = parameter.default not in (None, False, inspect.Parameter.empty)
        help_text = parameter.annotation.__metadata__[0].help
        rows.append((f"`{shown}`", help_text, f"`{parameter.default}`" if plain else ""))
    words.sort(key=lambda word: "--" in word)
    usage = f"```text\n{_wrapped(words)}\n```"
    table = _table(("argument or option", "meaning", "default"), rows) if rows else ""
    name = command_name(command)
    return f"## polyrank {name}\n\n{inspect.getdoc(does)}\n\n{usage}\n\n{table}\n"


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


def _methods(table: Table) -> str:
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
    return f"{title}\n\n{_table(head, rows)}\n\n{more}\n"


def _leaves(
    node: Mapping[str, Any], defs: Mapping[str, Any], path: str
) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Yield the dotted keys of a JSON schema that hold a value, with their part of it."""
    for name, given in node.get("properties", {}).items():
        key = f"{path}{name}"
        inner = _table_of(given, defs)
        freely = given.get("additionalProperties")
        if inner:
            yield from _leaves(inner, defs, f"{key}.")
        elif isinstance(freely, Mapping):
            word = "CLIENT" if name == "caps" else name.upper().removesuffix("S")
            below = _table_of(freely, defs)
            if below:
                yield from _leaves(below, defs, f"{key}.{word}.")
            else:
                yield f"{key}.{word}", freely
        else:
            yield key, given


def _table_of(node: Mapping[str, Any], defs: Mapping[str, Any]) -> Mapping[str, Any] | None:
    for option in (node, *node.get("anyOf", ()), *node.get("allOf", ())):
        if "$ref" in option:
            found: Mapping[str, Any] = defs[option["$ref"].rpartition("/")[2]]
            return found
    return None


def _kind(node: Mapping[str, Any]) -> str:
    if "anyOf" in node:
        return " or ".join(_kind(option) for option in node["anyOf"] if option["type"] != "null")
    if "enum" in node or "const" in node:
        return ", ".join(f"`{value}`" for value in node.get("enum", [node.get("const")]))
    if node["type"] == "array":
        return f"list of {_kind(node['items'])}"
    named = {"integer": "whole number", "string": "text", "boolean": "true or false"}
    words = named.get(node["type"], node["type"])
    if node["type"] == "integer" and node.get("exclusiveMinimum") == 0:
        node = {**node, "exclusiveMinimum": None, "minimum": 1}
    limits = {"minimum": "≥", "exclusiveMinimum": ">", "maximum": "≤", "exclusiveMaximum": "<"}
    bounds = [f"{sign} {node[key]}" for key, sign in limits.items() if node.get(key) is not None]
    return " ".join([words, ", ".join(bounds)]).strip()


def _toml(value: object) -> str:
    if isinstance(value, str):
        return f'"{value}"'
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(_toml, value))}]"
    return str(value)


def _table(head: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    lines = [head, tuple("---" for _ in head), *rows]
    escaped = ([cell.replace("|", "\\|") for cell in row] for row in lines)
    return "\n".join(f"| {' | '.join(row)} |" for row in escaped)
