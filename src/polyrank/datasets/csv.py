"""Texts and labels in a .csv or .csv.gz file."""

import csv as csv_format
import gzip
import zlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from polyrank.datasets import checks
from polyrank.datasets.data import Data
from polyrank.errors import DataError


def csv(
    path: str,
    *,
    text: str = "text",
    label: str = "label",
    group: str | None = None,
    test_path: str | None = None,
) -> Data:
    """Read a column of texts and a column of labels from UTF-8 files with a header.

    Whole numbers in the label column are the labels 0..C-1; anything else is a label name,
    numbered in sorted order over both files. An empty text is a text, an empty label or
    group an error. Lines without any field are skipped.

    Args:
        path: the training rows; read through gzip if it ends in ``.gz``.
        text: the header of the texts.
        label: the header of the labels.
        group: the header of the natural client of a row, if there is one.
        test_path: a file of the same form with the test rows.

    Raises:
        DataError: a file is missing, damaged, empty or not UTF-8, a column is missing, a
            line has more or fewer fields than the header, or a label cannot be used.
    """
    wanted = [text, label] if group is None else [text, label, group]
    train = _columns(checks.existing_file(path), wanted)
    test = _columns(checks.existing_file(test_path), [text, label]) if test_path else [[], []]
    where = f"{path}: column {label!r}"
    labels, names = checks.text_labels(train[1] + test[1], where)
    n = len(train[1])
    groups = None
    if group is not None:
        groups = checks.group_names(np.array(train[2], np.str_), f"{path}: column {group!r}")
    return Data(
        train_x=np.array(train[0], dtype=object),
        train_y=labels[:n],
        test_x=np.array(test[0], dtype=object),
        test_y=labels[n:],
        label_names=names,
        source=path,
        train_groups=groups,
    )


def _columns(path: Path, wanted: list[str]) -> list[list[str]]:
    """Return the values of each wanted column, without the header."""
    rows = _rows(path)
    header = next(rows, [])
    for name in wanted:
        if header.count(name) != 1:
            came = "came it twice" if name in header else "came " + (", ".join(header) or "nothing")
            raise DataError(f"{path}: expected a column {name!r} in the first line, {came}")
    places = [header.index(name) for name in wanted]
    columns: list[list[str]] = [[] for _ in wanted]
    for row in rows:
        for column, place in zip(columns, places, strict=True):
            column.append(row[place])
    if not columns[0]:
        raise DataError(f"{path}: expected at least one row below the header, came none")
    return columns


def _rows(path: Path) -> Iterator[list[str]]:
    """Yield the non-empty rows, header first, all of one length."""
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
                        f"{path}: line {line}: expected {fields} fields, came {len(row)}"
                    )
                if row:
                    yield row
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: after line {line}: expected UTF-8, came {error}") from error
    except csv_format.Error as error:
        raise DataError(f"{path}: after line {line}: not valid CSV: {error}") from error
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"{path}: after line {line}: cannot be read: {error}") from error
