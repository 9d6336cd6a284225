"""The reference pages hold what the code says of itself, and the records what the pages say."""

import importlib
import inspect
import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, Union, get_args, get_origin

import docs_commands
import docs_methods
import docs_reference
import docs_settings
import pytest
from pydantic import BaseModel

import polyrank
from polyrank import cli, errors
from polyrank.aggregators import AGGREGATORS
from polyrank.allocators import ALLOCATORS
from polyrank.console import method_list
from polyrank.record.lines import EVENTS, RoundLine, TimingLine
from polyrank.record.run_folder import RunFolder
from polyrank.record.summary import Summary
from polyrank.settings.schema import Settings
from polyrank.settings.tables import ModuleRanks, RankSettings
from polyrank.settings.training import PretrainSettings
from tests.small import small
from tests.written import lines_in, summary_in

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"
SELDOM = {  # what no run without texts, tables, failures, slots by number and ranks by need has
    "columns",
    *("slots.MODULE", "failed", "perplexity.final", "perplexity.best", "perplexity.best_round"),
    *("texts.texts", "texts.cut", "texts.max_length"),
    *("cuts", "down", "seconds.cuts", "ranks.MODULE", "shares.MODULE"),
    *("truncation.curve", "truncation.rows", "truncation.held_by"),
}
SCHEMA = {
    "`rounds.jsonl`": RoundLine,
    **{f"`clients.jsonl`: `{event}`": kind for event, kind in EVENTS.items()},
    "`timings.jsonl`": TimingLine,
    "`summary.json`": Summary,
}


def settings_models(model: Any = Settings) -> Iterator[Any]:
    """Yield the model of the settings and those of its tables."""
    yield model
    for field in model.model_fields.values():
        for kind in (field.annotation, *get_args(field.annotation)):
            if isinstance(kind, type) and issubclass(kind, BaseModel):
                yield from settings_models(kind)


def test_every_settings_key_says_what_it_means_where_it_is_defined():
    models = set(settings_models())
    assert len(models) >= 12
    for model in models:
        for name, field in model.model_fields.items():
            assert (field.description or "").strip().endswith("."), f"{model.__name__}.{name}"


def test_the_page_of_the_settings_says_what_their_fields_say():
    page = (DOCS / "reference/settings.md").read_text(encoding="utf-8")
    filled = docs_reference.on_page_markdown(page)
    for key, model, name in [
        ("seed", Settings, "seed"),
        ("model.kind", Settings, "model"),
        ("ranks.caps.CLIENT", RankSettings, "caps"),
        ("ranks.modules.MODULE.r_min", ModuleRanks, "r_min"),
        ("pretrain.share", PretrainSettings, "share"),
    ]:
        said = " ".join(model.model_fields[name].description.split())
        assert re.search(rf"^\| `{re.escape(key)}` \|.*\| {re.escape(said)} \|$", filled, re.M), key
    rows = re.findall(r"^\| `([\w.]+)` \|.*\| ([^|]+) \|$", filled, flags=re.MULTILINE)
    assert len(rows) > 60
    assert all(meaning.strip() for _, meaning in rows)


def test_defaults_in_the_settings_table_are_those_of_the_code():
    table = {key: (kind, default) for key, kind, default, _ in docs_settings.setting_keys()}
    assert table["rounds"] == ("whole number ≥ 1", "20")
    assert table["aggregator.kind"][1] == json.dumps(small().__class__().aggregator.kind)
    assert table["ranks.caps.CLIENT"] == ("whole number ≥ 1", "")


def test_every_method_command_and_error_is_in_the_reference():
    for table in method_list.TABLES:
        assert all(f"| `{name}` |" in docs_methods.methods() for name in table), table.kind
    said = docs_commands.commands()
    for command_ in cli.app.registered_commands:
        assert f"## polyrank {docs_commands.command_name(command_)}\n" in said
    assert "| `--set KEY=VALUE` |" in said
    assert "polyrank export RUN --out PATH" in said
    kinds = [k for k in vars(errors).values() if isinstance(k, type)]
    ours = [k.__name__ for k in kinds if issubclass(k, errors.PolyRankError)]
    assert len(ours) > 5
    assert all(f"| `{name}` |" in docs_methods.error_classes() for name in ours)
    for page, part in (("commands", "commands"), ("methods", "methods"), ("errors", "errors")):
        mark = f"<!-- reference: {part} -->"
        assert mark in (DOCS / f"reference/{page}.md").read_text(encoding="utf-8"), page


def test_every_method_is_explained_by_its_file_and_every_file_named_is_there():
    text = "".join(path.read_text(encoding="utf-8") for path in (DOCS / "explanation").glob("*.md"))
    assert "<!-- reference: papers -->" in text
    said = docs_methods.papers()
    for table in method_list.TABLES:
        assert all(f"### `{name}`\n\n" in said for name in table), table.kind
    for path in set(re.findall(r"`((?:src|tests|examples|benchmarks)/[\w/.]+)`", text)):
        assert (ROOT / path).exists(), path


def test_the_page_that_compares_aggregators_has_them_all():
    text = (DOCS / "explanation/which-method.md").read_text(encoding="utf-8")
    assert "<!-- reference: aggregators -->" in text
    traffic = text.partition("### What travels\n")[2].partition("\n### ")[0]
    rows = re.findall(r"^\| (`.*?) \|", traffic, flags=re.MULTILINE)
    names = [name for row in rows for name in re.findall(r"`(\w+)`", row)]
    assert sorted(names) == sorted(AGGREGATORS)
    declared = docs_methods.aggregators()
    assert "| `ffa` | B | B | B | `exact`, `linear_sum` |  |" in declared
    assert "| `rolora` | B or A | B or A | A, B | `exact`, `linear_sum` |  |" in declared
    assert "| `anchored` | A, B | A, B | A, B of all slots | `basis_free` |  |" in declared
    assert "| `flora` | A, B | A, B | none | `basis_free`, `exact` | changes the base |" in declared


def test_the_page_that_compares_methods_says_what_each_allocator_is_for():
    text = (DOCS / "explanation/which-method.md").read_text(encoding="utf-8")
    table = text.partition("## Allocators\n")[2].partition("\n## ")[0]
    uses = re.findall(r"^\| .* \| \[?`(\w+)`", table, flags=re.MULTILINE)
    assert set(uses) == set(ALLOCATORS)


def test_every_public_name_is_in_the_python_reference():
    text = (DOCS / "reference" / "python.md").read_text(encoding="utf-8")
    names = re.findall(r"^::: ([\w.]+)$", text, flags=re.MULTILINE)
    for name in names:
        module, _, attribute = name.rpartition(".")
        assert inspect.getdoc(getattr(importlib.import_module(module), attribute)), name
    shown = {name.rpartition(".")[2] for name in names}
    for name in ("", ".mcda", ".criteria", ".allocators", ".aggregators"):
        package = importlib.import_module(f"polyrank{name}")
        parts = {n for n in package.__all__ if inspect.ismodule(getattr(package, n))}
        public = {n for n in package.__all__ if not n.isupper()} - parts
        assert public - {"Chooser", "Criterion", "Normalisation", "Observer"} <= shown


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> RunFolder:
    """A run in which everything that can be recorded happens, but refusals and failures."""
    settings = small(
        rounds=2,
        evaluation={"target_accuracy": 0.9},
        criteria=["loss_entropy_examples"],
        ranks={"refresh_every": 1},
        allocator={"kind": "autorank", "spread": "paper"},
        adapter={"targets": ["fc1"], "extras": ["fc2"]},
        head_init="lda",
    )
    return RunFolder(polyrank.run(settings, out=tmp_path_factory.mktemp("docs") / "run").folder)


def documented(heading: str) -> set[str]:
    """First column of the table below a heading of the page about the run folder."""
    text = (DOCS / "reference" / "run-folder.md").read_text(encoding="utf-8")
    part = text.partition(f"## {heading}\n")[2].partition("\n## ")[0]
    return set(re.findall(r"^\| `([\w.\[\]]+)` \|", part, flags=re.MULTILINE))


def fields(value: Any, path: str = "") -> set[str]:
    if isinstance(value, dict) and value:
        return set().union(*(fields(inner, f"{path}.{key}") for key, inner in value.items()))
    return {path.lstrip(".")}


def keys_of(kind: Any, path: str = "") -> Iterator[str]:
    """Yield the dotted keys that a type of a record has; ANY stands for any key of a mapping."""
    if isinstance(kind, type) and issubclass(kind, BaseModel):
        for name, field in kind.model_fields.items():
            key = field.serialization_alias or name
            yield from keys_of(field.annotation, f"{path}.{key}".lstrip("."))
        return
    inner = [one for one in get_args(kind) if one is not type(None)]
    if get_origin(kind) is Mapping:
        yield from keys_of(inner[1], f"{path}.ANY")
    elif get_origin(kind) in (Annotated, UnionType, Union) and not isinstance(inner[0], str):
        yield from keys_of(inner[0], path)
    else:
        yield path


@pytest.mark.parametrize("heading", SCHEMA)
def test_the_page_of_the_run_folder_names_every_key_of_the_schema_and_no_other(heading):
    known, real = documented(heading), set(keys_of(SCHEMA[heading]))
    assert len(real) > 1
    assert not [k for k in real if not any(is_field(k, name) for name in known)], "not named"
    assert not [name for name in known if not any(is_field(k, name) for k in real)], "unknown"


def is_field(known: str, name: str) -> bool:
    """Whether a documented name, with words in capitals for any key, is a real one."""
    parts, real = known.split("."), name.split(".")
    return len(parts) == len(real) and all(
        p == r or p.isupper() for p, r in zip(parts, real, strict=True)
    )


@pytest.mark.parametrize(
    ("heading", "kind", "event"),
    [
        ("`rounds.jsonl`", "rounds", None),
        ("`clients.jsonl`: `profile`", "clients", "profile"),
        ("`clients.jsonl`: `ranks`", "clients", "ranks"),
        ("`clients.jsonl`: `update`", "clients", "update"),
        ("`clients.jsonl`: `final`", "clients", "final"),
        ("`timings.jsonl`", "timings", None),
    ],
)
def test_records_have_the_fields_that_the_page_names(run, heading, kind, event):
    records = [r for r in lines_in(run, kind) if event is None or r["event"] == event]
    agree(documented(heading), set().union(*map(fields, records)))


def test_the_summary_has_the_fields_that_the_page_names(run):
    agree(documented("`summary.json`"), fields(summary_in(run)))


def test_the_run_folder_has_the_files_that_the_page_names(run):
    there = {p.name for p in run.path.iterdir() if not p.name.startswith(".")}
    assert documented("Files") == there - {"checkpoint"} | {"checkpoint"}


def agree(known: set[str], real: set[str]) -> None:
    assert known
    assert not [name for name in real if not any(is_field(k, name) for k in known)], "not named"
    always = known - SELDOM
    assert not [k for k in always if not any(is_field(k, name) for name in real)], "not there"
