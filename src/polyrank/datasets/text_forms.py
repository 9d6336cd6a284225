"""The forms that texts come in: alone, as prompts with completions, or as conversations."""

from collections.abc import Container, Iterable, Mapping

import numpy as np

from polyrank.errors import DataError

FORMS = (("messages",), ("prompt", "completion"), ("text",))


def form_of(keys: Iterable[str], where: str) -> tuple[str, ...]:
    """Return the first form whose keys are all there.

    Raises:
        DataError: no form has all its keys.
    """
    there = list(keys)
    for form in FORMS:
        if all(key in there for key in form):
            return form
    wanted = "; or ".join(" and ".join(form) for form in FORMS)
    raise DataError(f"{where}: expected the keys {wanted}, got {', '.join(there) or 'none'}")


def pair_columns(
    there: Container[str], text: str | None, prompt: str | None, completion: str | None, where: str
) -> tuple[str, str] | None:
    """Return the columns of prompts and completions, or None where texts stand alone.

    Args:
        there: the columns of the data.
        text: the column of texts that was asked for, if one was.
        prompt: the same of prompts; by default ``prompt``.
        completion: the same of completions; by default ``completion``.
        where: for messages.

    Raises:
        DataError: texts were asked for, and prompts or completions too.
    """
    asked = prompt or completion
    if text and asked:
        raise DataError(
            f"{where}: expected one column of texts, or prompt and completion, got the options "
            f"{text!r} and {asked!r}"
        )
    pair = prompt or "prompt", completion or "completion"
    return pair if asked or (not text and all(name in there for name in pair)) else None


def pairs(prompts: Iterable[str], completions: Iterable[str]) -> np.ndarray:
    """Return (n,) dicts with ``prompt`` and ``completion``."""
    both = zip(prompts, completions, strict=True)
    rows = [{"prompt": prompt, "completion": completion} for prompt, completion in both]
    found = np.empty(len(rows), dtype=object)
    found[:] = rows
    return found


def label_column(
    label: str | None, parts: Iterable[Container[str]], default: str = "label"
) -> str | None:
    """Return the column of labels: the one asked for, or ``label`` where any part has it."""
    return label or (default if any(default in part for part in parts) else None)


def no_labels(rows: int) -> tuple[np.ndarray, tuple[str, ...]]:
    """Return what stands for labels where there are none: (rows,) zeros, and their name."""
    return np.zeros(rows, dtype=np.int64), ("0",)


def check_messages(messages: object, where: str) -> None:
    """Raise DataError unless this is a conversation: objects with texts role and content."""
    good = isinstance(messages, list) and all(
        isinstance(m, Mapping)
        and isinstance(m.get("role"), str)
        and isinstance(m.get("content"), str)
        for m in messages
    )
    if not good or not messages:
        raise DataError(
            f"{where}: 'messages': expected a list of objects with texts 'role' and 'content', "
            f"got {str(messages)[:80]}"
        )
