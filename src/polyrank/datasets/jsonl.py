"""Texts, prompts with completions, or conversations in a .jsonl or .jsonl.gz file."""

import gzip
import zlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from polyrank.datasets import checks, text_forms
from polyrank.datasets.data import Data
from polyrank.disk.outside import parse_json
from polyrank.errors import DataError


def jsonl(
    path: str,
    *,
    label: str | None = None,
    group: str | None = None,
    test_path: str | None = None,
) -> Data:
    """Read UTF-8 lines of JSON objects that all have one of three forms.

    ``{"text": "..."}``; ``{"prompt": "...", "completion": "..."}``; or ``{"messages": [...]}``,
    objects with ``role`` and ``content``. Labels may be missing, if they are in every row: the
    data are then not ``labelled``. Other keys are ignored, and so are empty lines.

    Args:
        path: the training rows; read through gzip if it ends in ``.gz``.
        label: the key of the labels, whole numbers or texts; by default ``label``, if there is
            one.
        group: the key of the natural client of a row, if there is one.
        test_path: a file of the same form with the test rows.

    Raises:
        DataError: a file is missing, damaged, empty or not UTF-8, a line is no object of the
            form of the first, or a label or group cannot be used.
    """
    train = list(_rows(checks.existing_file(path)))
    test = list(_rows(checks.existing_file(test_path))) if test_path else []
    if not train:
        raise DataError(f"{path}: expected at least one row, got none")
    form = text_forms.form_of(train[0][1], path)
    n = len(train)
    inputs = np.empty(n + len(test), dtype=object)
    inputs[:] = [
        _input(row, form, f"{file}: line {line}")
        for file, rows in ((path, train), (test_path, test))
        for line, row in rows
    ]
    rows = [row for _, row in train + test]
    key = text_forms.label_column(label, rows)
    labels, names = _labels(rows, key, path) if key else text_forms.no_labels(len(rows))
    groups = None
    if group is not None:
        named = [_scalar(row, group, f"{path}: line {line}") for line, row in train]
        groups = checks.group_names(np.array(named, np.str_), f"{path}: {group!r}")
    return Data(inputs[:n], labels[:n], inputs[n:], labels[n:], names, path, groups, bool(key))


def _input(row: Mapping[str, Any], form: tuple[str, ...], where: str) -> str | dict[str, Any]:
    """Return a text, or a dict of the form's keys."""
    for key in form:
        if key not in row:
            raise DataError(f"{where}: expected {key!r} as in the first row, got {', '.join(row)}")
        if key == "messages":
            text_forms.check_messages(row[key], where)
        elif not isinstance(row[key], str):
            raise DataError(f"{where}: {key!r}: expected a text, got {row[key]!r}")
    return str(row["text"]) if form == ("text",) else {key: row[key] for key in form}


def _labels(
    rows: Sequence[Mapping[str, Any]], key: str, path: str
) -> tuple[np.ndarray, tuple[str, ...]]:
    having = [key in row for row in rows]
    if not all(having):
        raise DataError(
            f"{path}: expected {key!r} in every row or in none, row {having.index(False)} has none"
        )
    return checks.text_labels([_scalar(row, key, path) for row in rows], f"{path}: {key!r}")


def _scalar(row: Mapping[str, Any], key: str, where: str) -> str:
    value = row.get(key)
    if isinstance(value, bool) or not isinstance(value, str | int):
        raise DataError(f"{where}: {key!r}: expected a text or a whole number, got {value!r}")
    return str(value)


def _rows(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield the number of a line, from 1, and its object."""
    number = 0
    try:
        opener = gzip.open if path.suffix.lower() == ".gz" else open
        with opener(path, "rt", encoding="utf-8-sig") as lines:
            for number, line in enumerate(lines, start=1):
                row = parse_json(line) if line.strip() else None
                if row is not None and not isinstance(row, dict):
                    raise DataError(f"{path}: line {number}: expected an object, got {line[:80]}")
                if row is not None:
                    yield number, row
    except UnicodeDecodeError as error:
        raise checks.not_utf8(path) from error
    except ValueError as error:
        raise DataError(f"{path}: line {number}: not valid JSON: {error}") from error
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"{path}: after line {number}: cannot be read: {error}") from error
