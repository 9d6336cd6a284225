"""Texts, or prompts with completions, in a .csv or .csv.gz file."""

import csv as csv_format
import gzip
import zlib
from collections.abc import Generator
from contextlib import closing
from pathlib import Path

import numpy as np

from polyrank.datasets import checks, text_forms
from polyrank.datasets.data import Data
from polyrank.errors import DataError


def csv(
    path: str,
    *,
    text: str | None = None,
    prompt: str | None = None,
    completion: str | None = None,
    label: str | None = None,
    group: str | None = None,
    test_path: str | None = None,
) -> Data:
    """Read texts, or prompts with completions, and their labels from UTF-8 files with a header.

    Prompts with completions are for language models, which need no labels. The different
    labels of both files are numbered in sorted order, whole numbers by their value. An empty
    text is a text, an empty label or group an error. Lines without any field are skipped.

    Args:
        path: the training rows; read through gzip if it ends in ``.gz``.
        text: the header of the texts; by default ``text``.
        prompt: the header of the prompts; by default ``prompt``, if there are completions too.
        completion: the header of the completions; by default ``completion``, likewise.
        label: the header of the labels; by default ``label``, if there is one.
        group: the header of the natural client of a row, if there is one.
        test_path: a file of the same form with the test rows.

    Raises:
        DataError: a file is missing, damaged, empty or not UTF-8, a column is missing, texts
            and prompts are both asked for, a line has more or fewer fields than the header, or
            a label cannot be used.
    """
    files = [checks.existing_file(file) for file in (path, test_path) if file is not None]
    headers = [_header(file) for file in files]
    pair = text_forms.pair_columns(headers[0], text, prompt, completion, path)
    label = text_forms.label_column(label, headers)
    taken = list(pair or [text or "text"])
    wanted = [*taken, *([label] if label else [])]
    train = _columns(files[0], [*wanted, *([group] if group else [])])
    parts = [train, *(_columns(file, wanted) for file in files[1:])]
    x = [text_forms.pairs(*p[:2]) if pair else np.array(p[0], dtype=object) for p in parts]
    n = len(x[0])
    labels, names = text_forms.no_labels(sum(map(len, x)))
    if label:
        written = [value for part in parts for value in part[len(taken)]]
        labels, names = checks.text_labels(written, f"{path}: column {label!r}")
    groups = None
    if group:
        groups = checks.group_names(np.array(train[-1], np.str_), f"{path}: column {group!r}")
    return Data(
        train_x=x[0],
        train_y=labels[:n],
        test_x=x[1] if len(x) > 1 else x[0][:0],
        test_y=labels[n:],
        label_names=names,
        source=path,
        train_groups=groups,
        labelled=label is not None,
    )


def _header(path: Path) -> list[str]:
    with closing(read_rows(path)) as rows:  # rather than leave an open file to the collector
        return next(rows, [])


def _columns(path: Path, wanted: list[str]) -> list[list[str]]:
    """Return the values of each wanted column, without the header."""
    rows = read_rows(path)
    header = next(rows, [])
    for name in wanted:
        if header.count(name) != 1:
            raise DataError(
                f"{path}: expected a column {name!r} in the first line, {_got(name, header)}"
            )
    places = [header.index(name) for name in wanted]
    columns: list[list[str]] = [[] for _ in wanted]
    for row in rows:
        for column, place in zip(columns, places, strict=True):
            column.append(row[place])
    if not columns[0]:
        raise DataError(f"{path}: expected at least one row below the header, got none")
    return columns


def _got(name: str, header: list[str]) -> str:
    """Say what the file has in place of a column, and what to do."""
    if name in header:
        return "got it twice"
    got = "got " + (", ".join(header) or "nothing")
    other = [mark for mark in (";", "\t", "|") if len(header) == 1 and mark in header[0]]
    if other:
        return f"{got}: expected commas between columns, got {other[0]!r}"
    default = name in ("text", "prompt", "completion", "label")
    if not (default and header):
        return got
    table = "; for a table of numbers and categories name the column to predict with data.target"
    return f"{got}: name it with data.{name}" + table * (name == "text")


def read_rows(path: Path) -> Generator[list[str]]:
    """Yield the non-empty rows of a CSV file, header first, all of one length.

    Raises:
        DataError: the file is damaged or not UTF-8, or a line has more or fewer fields.
    """
    line, fields = 0, None
    try:
        opener = gzip.open if path.suffix.lower() == ".gz" else open
        with opener(path, "rt", encoding="utf-8-sig", newline="") as lines:
            reader = csv_format.reader(lines, strict=True)
            for row in reader:
                line = reader.line_num
                fields = fields or len(row)
                if row and len(row) != fields:
                    raise DataError(
                        f"{path}: line {line}: expected {fields} fields, got {len(row)}"
                    )
                if row:
                    yield row
    except UnicodeDecodeError as error:
        raise checks.not_utf8(path) from error
    except csv_format.Error as error:
        raise DataError(f"{path}: after line {line}: not valid CSV: {error}") from error
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"{path}: after line {line}: cannot be read: {error}") from error
