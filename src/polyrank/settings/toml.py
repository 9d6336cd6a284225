"""Settings files: TOML in, checked settings out; every error names file, key and value."""

import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import tomli_w
from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from polyrank.errors import SettingsError, nearest
from polyrank.formats import FORMAT, check_format
from polyrank.settings.schema import Settings

DEEPEST = 20  # tables within tables; ours are 4 deep
_TOO_DEEP = f"expected tables and lists at most {DEEPEST} deep, got deeper ones"

CALLED_OTHERWISE = {  # keys of PEFT and transformers, and one of an older version
    "target_modules": "adapter.targets",
    "modules_to_save": "adapter.extras",
    "lora_alpha": 'adapter.scaling, a constant, or { alpha = ..., per = "rank" }',
    "use_rslora": 'adapter.scaling = { alpha = ..., per = "sqrt_rank" }',
    "r": "ranks.r_max, and the allocator's choice",
    "gradient_accumulation_steps": "training.accumulate, of one batch",
    "gradient_checkpointing": "training.checkpointing",
    "bf16": 'training.autocast = "bf16"',
    "fp16": 'training.autocast = "fp16"',
    "probe.epochs": "probe.steps: a probe is as long on every client",
}


def load_settings(path: str | Path, overrides: Sequence[str] = ()) -> Settings:
    """Read a settings file; ``overrides`` are ``"dotted.key=value"`` with TOML values.

    Raises:
        SettingsError: naming the file, the key, the value and what is allowed.
    """
    return make_settings(read_document(path, overrides), where=str(path))


def read_document(path: str | Path, overrides: Sequence[str] = ()) -> dict[str, Any]:
    """Return what a settings file says, changed by ``overrides``, before it is checked.

    Raises:
        SettingsError: the file cannot be read, is not TOML, or an override is none.
    """
    path = Path(path)
    try:
        document = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise SettingsError(f"{path}: cannot be read: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise SettingsError(f"{path}: not valid TOML: {error}") from error
    except RecursionError as error:
        raise SettingsError(f"{path}: {_TOO_DEEP}") from error
    for text in overrides:
        override(document, text)
    document.setdefault("name", path.stem)
    return document


def make_settings(document: Mapping[str, Any], where: str = "settings") -> Settings:
    """Check a settings document; paths in it become texts, as a file has them.

    It may say ``format``, as the settings in a run folder do.

    Raises:
        SettingsError: naming the key, the value and what is allowed.
    """
    document = {**document}
    check_format(document.pop("format", FORMAT), where, SettingsError)
    try:
        return Settings.model_validate(_paths_as_texts(document, DEEPEST))
    except ValidationError as error:
        raise SettingsError("\n".join(f"{where}: {line}" for line in _lines(error))) from error
    except SettingsError as error:
        raise type(error)(f"{where}: {error}") from error


def override(document: dict[str, Any], text: str) -> None:
    """Change a settings document by ``"dotted.key=value"``, in place; the value is TOML or text.

    Raises:
        SettingsError: not of that form, or the key lies below something that is no table.
    """
    put(document, *parsed(text))


def parsed(text: str) -> tuple[str, Any]:
    """Return the key and the value of ``"dotted.key=value"``; the value is TOML or text.

    Raises:
        SettingsError: not of that form.
    """
    dotted, equals, given = text.partition("=")
    if not equals or not dotted.strip():
        raise SettingsError(f"setting {text!r}: expected key=value, such as training.epochs=3")
    try:
        value = tomllib.loads(f"value = {given}")["value"]
    except RecursionError as error:
        raise SettingsError(f"setting {dotted.strip()!r}: {_TOO_DEEP}") from error
    except tomllib.TOMLDecodeError as error:
        value = given.strip()
        if value[:1] in ("[", "{"):
            raise SettingsError(
                f"setting {text!r}: not valid TOML: texts in lists and tables need quotes, and all "
                """of it other quotes around it, such as --set 'criteria=["label_count"]'"""
            ) from error
    return dotted.strip(), value


def put(document: dict[str, Any], dotted: str, value: object) -> None:
    """Set a dotted key of a settings document, in place; what was there is replaced.

    Raises:
        SettingsError: the key lies below something that is no table.
    """
    *tables, last = [part.strip() for part in dotted.split(".")]
    place = document
    for table in tables:
        inner = place.setdefault(table, {})
        if isinstance(inner, str | list):
            inner = place[table] = {"source" if table == "data" else "kind": inner}
        if not isinstance(inner, dict):
            raise SettingsError(f"setting {dotted!r}: {table!r} is {inner!r}, not a table")
        place = inner
    place[last] = value


def dump_settings(settings: Settings) -> str:
    """Write settings as TOML, every default and the format included."""
    return tomli_w.dumps({"format": FORMAT, **settings.model_dump(exclude_none=True)})


def changed_keys(old: Settings, new: Settings) -> list[str]:
    """Return the dotted keys in which two settings differ."""
    return _differences(old.model_dump(), new.model_dump(), "")


def _differences(old: object, new: object, path: str) -> list[str]:
    if isinstance(old, dict) and isinstance(new, dict):
        keys = [*old, *(k for k in new if k not in old)]
        found = (_differences(old.get(k), new.get(k), f"{path}.{k}".lstrip(".")) for k in keys)
        return [key for keys_ in found for key in keys_]
    return [] if old == new else [path]


def _paths_as_texts(value: Any, deep: int) -> Any:  # noqa: ANN401 - whatever a document holds
    if not deep:
        raise SettingsError(_TOO_DEEP)
    if isinstance(value, Mapping):
        return {key: _paths_as_texts(inner, deep - 1) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_paths_as_texts(inner, deep - 1) for inner in value]
    return str(value) if isinstance(value, Path) else value


def _lines(error: ValidationError) -> list[str]:
    return [_line(e["loc"], e) for e in error.errors()]


def _line(loc: tuple[int | str, ...], error: ErrorDetails) -> str:
    key, got = ".".join(str(part) for part in loc), error["input"]
    if error["type"] == "extra_forbidden":
        known = list(getattr(_model_at(loc[:-1]), "model_fields", {}))
        meant = CALLED_OTHERWISE.get(str(loc[-1])) or CALLED_OTHERWISE.get(key)
        hint = f" (here it is {meant})" if meant else nearest(str(loc[-1]), known)
        return f"unknown key {key} = {got!r}{hint}; allowed: {', '.join(known)}"
    if error["type"] == "missing":
        return f"{key} is required and was not given{_meaning(loc)}"
    message = error["msg"].removeprefix("Value error, ")
    if error["type"] == "value_error":
        shown = f", got {got!r}" if isinstance(got, str | int | float) else ""
        return f"{key}: {message}{shown}" if key else message
    if error["type"] == "literal_error":
        allowed = [
            e.strip().strip("'") for e in error["ctx"]["expected"].replace(" or ", ", ").split(",")
        ]
        near = nearest(str(got), allowed)
        return f"{key}: expected one of {', '.join(allowed)}, got {got!r}{near}{_meaning(loc)}"
    expected = message.removeprefix("Input should be ")
    if error["type"] in ("model_type", "dict_type"):
        expected = "a table"
    elif expected.startswith(("greater", "less")):
        expected = f"a number {expected}"
    return f"{key}: expected {expected}, got {got!r}{_meaning(loc)}"


def _meaning(loc: tuple[int | str, ...]) -> str:
    """Return what is said at the field of a key, in brackets, or nothing if there is none."""
    field = getattr(_model_at(loc[:-1]), "model_fields", {}).get(loc[-1])
    said = " ".join((field.description or "").split()) if field else ""
    return f" ({said})" if said else ""


def _model_at(loc: tuple[int | str, ...]) -> type[BaseModel] | None:
    model: type[BaseModel] | None = Settings
    for part in loc:
        field = getattr(model, "model_fields", {}).get(part)
        model = None if field is None else _model_of(field.annotation)
    return model


def _model_of(annotation: object) -> type[BaseModel] | None:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    for inner in getattr(annotation, "__args__", ()):
        found = _model_of(inner)
        if found is not None:
            return found
    return None
