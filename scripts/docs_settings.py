"""The reference of the settings, from the models that check them and the texts at their fields."""

from collections.abc import Iterator, Mapping
from typing import Any

from markdown_table import markdown_table

from polyrank.settings.schema import CHANGEABLE_ON_RESUME, Settings


def settings() -> str:
    """Every settings key with its type, its default and what it means."""
    rows = [
        (f"`{key}`", kind, f"`{default}`" if default else "", meaning)
        for key, kind, default, meaning in setting_keys()
    ]
    late = ", ".join(f"`{key}`" for key in sorted(CHANGEABLE_ON_RESUME))
    table = markdown_table(("key", "type", "default", "meaning"), rows)
    return f"{table}\n\nKeys that may change on resume: {late}."


def setting_keys() -> Iterator[tuple[str, str, str, str]]:
    """Yield key, type in words, default as TOML (empty where there is none), and meaning."""
    schema = Settings.model_json_schema()
    defaults = Settings().model_dump()
    for key, node, meaning in _leaves(schema, schema["$defs"], ""):
        value: Any = defaults
        for part in key.split("."):
            value = value.get(part) if isinstance(value, Mapping) else None
        default = node.get("default") if value is None else value
        shown = "" if default is None else _toml(default)
        yield key, _kind(node), shown, " ".join(meaning.split())


def _leaves(
    node: Mapping[str, Any], defs: Mapping[str, Any], path: str
) -> Iterator[tuple[str, Mapping[str, Any], str]]:
    """Yield the dotted keys of a JSON schema that hold a value, with their part of it and meaning.

    The name of a method means what the key that it is given for means.
    """
    for name, given in node.get("properties", {}).items():
        key, meaning = f"{path}{name}", given.get("description", "")
        inner = _table_of(given, defs)
        freely = given.get("additionalProperties")
        if inner:
            for below, part, text in _leaves(inner, defs, f"{key}."):
                yield below, part, meaning if below == f"{key}.kind" else text
        elif isinstance(freely, Mapping):
            word = "CLIENT" if name == "caps" else name.upper().removesuffix("S")
            of_each = _table_of(freely, defs)
            if of_each:
                yield from _leaves(of_each, defs, f"{key}.{word}.")
            else:
                yield f"{key}.{word}", freely, meaning
        else:
            yield key, given, meaning


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
