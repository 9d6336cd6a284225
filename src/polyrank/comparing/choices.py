"""Arms of a comparison from choices such as ``aggregator=rbla,flexlora``: their product."""

from collections.abc import Iterator, Mapping, Sequence
from itertools import product
from typing import Any

from polyrank.errors import SettingsError
from polyrank.report.arms import distinct
from polyrank.settings.toml import parsed

OPENING, CLOSING, QUOTES = "[{(", "]})", "\"'"
TELLING = ("aggregator", "allocator")  # whose methods say by their names what they are
LONGEST = 120  # bytes of a name, which is a folder's too


def varied(choices: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Return the product of choices as arms: a name, and the keys that it changes.

    Args:
        choices: ``"key=value,value"``: a dotted key, and values as ``--set`` takes them.

    Raises:
        SettingsError: a choice is not of that form, has a value twice, or a key has two choices.
    """
    values: dict[str, list[Any]] = {}
    for choice in choices:
        key, of = _values(choice)
        if key in values:
            raise SettingsError(f"--vary {choice!r}: {key} is varied twice; name all its values")
        values[key] = of
    chosen = [dict(zip(values, of, strict=True)) for of in product(*values.values())]
    return dict(zip(distinct([_name(of) for of in chosen]), chosen, strict=True))


def _values(choice: str) -> tuple[str, list[Any]]:
    key, equals, given = choice.partition("=")
    texts = [text.strip() for text in _pieces(given)]
    if not equals or not key.strip() or not all(texts):
        raise SettingsError(
            f"--vary {choice!r}: expected KEY=VALUE,VALUE, such as aggregator=rbla,flexlora"
        )
    of = [parsed(f"{key}={text}")[1] for text in texts]
    if any(value in of[:at] for at, value in enumerate(of)):
        raise SettingsError(f"--vary {choice!r}: expected every value once, got one twice")
    return key.strip(), of


def _pieces(text: str) -> Iterator[str]:
    """Yield what commas part that stand in no bracket and no quotes."""
    deep, quote, start = 0, "", 0
    for at, character in enumerate(text):
        if quote:
            quote = "" if character == quote else quote
        elif character in QUOTES:
            quote = character
        elif character in OPENING:
            deep += 1
        elif character in CLOSING:
            deep -= 1
        elif character == "," and not deep:
            yield text[start:at]
            start = at + 1
    yield text[start:]


def _name(changes: Mapping[str, Any]) -> str:
    """Return what an arm changes, as a name that every system can make a folder of."""
    told = ", ".join(_told(key, value) for key, value in changes.items())
    plain = "".join(c if c.isprintable() and c not in '/\\:*?"<>|' else "-" for c in told)
    return plain.encode()[:LONGEST].decode(errors="ignore").strip(" .") or "arm"


def _told(key: str, value: object) -> str:
    short = key.removesuffix(".kind").rpartition(".")[2]
    return _shown(value) if short in TELLING else f"{short} {_shown(value)}"


def _shown(value: object) -> str:
    if isinstance(value, Mapping):
        of = [_shown(v) if k == "kind" else f"{k} {_shown(v)}" for k, v in value.items()]
        return " ".join(of)
    if isinstance(value, list):
        return " ".join(map(_shown, value))
    return str(value).lower() if isinstance(value, bool) else str(value)
