"""Join the data files of several clients, and remember whose rows are whose."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np

from polyrank.datasets.checks import same_kind
from polyrank.datasets.columns import Columns, joined, placed
from polyrank.datasets.data import Data
from polyrank.errors import DataError

LIST = "list of data files"


def concatenate(files: Mapping[str, Data], where: str = LIST) -> Data:
    """Join the data of several clients; each is a group, of the name that it has here.

    Groups that a client's data bring themselves are replaced. Labels are matched by name. Test
    parts are joined as well; data without one add nothing to the test part, unless none has one.

    Args:
        files: client, or the path of its file -> its data; a path stands for the file's name.
        where: for messages.

    Raises:
        DataError: two files of one name, inputs of different kinds, or some files with
            label names and some without, or some labelled and some not.
    """
    names = [_stem(path) if where == LIST else path for path in files]
    for name in names:
        if names.count(name) > 1:
            clash = ", ".join(path for path in files if _stem(path) == name)
            raise DataError(
                f"{where}: {clash}: expected different file names, got {name!r} for each"
            )
    first_path, first = next(iter(files.items()))
    if all(data.columns for data in files.values()):
        files = _with_common_columns(files)
        first = files[first_path]
    for path, data in files.items():
        same_kind(first.train_x, data.train_x, f"{where}: {first_path} and {path}")
        if data.labelled != first.labelled:
            having, lacking = (first_path, path) if first.labelled else (path, first_path)
            raise DataError(
                f"{where}: expected labels in all or in none, got labels in "
                f"{having} and none in {lacking}"
            )
    parts = _with_common_labels(files, where)

    def joined(part: Callable[[Data], np.ndarray]) -> np.ndarray:
        return np.concatenate([part(data) for data in parts])

    return Data(
        train_x=joined(lambda data: data.train_x),
        train_y=joined(lambda data: data.train_y),
        test_x=joined(lambda data: data.test_x),
        test_y=joined(lambda data: data.test_y),
        label_names=parts[0].label_names,
        source=", ".join(data.source for data in parts),
        train_groups=np.repeat(names, [len(data.train_y) for data in parts]),
        labelled=first.labelled,
        columns=first.columns,
    )


def _with_common_columns(files: Mapping[str, Data]) -> dict[str, Data]:
    """Give tables the same inputs: the categories of all, and a mark for every gap."""
    tables = [(path, data.columns) for path, data in files.items() if data.columns]
    every = joined(tables)

    def alike(path: str, data: Data, own: Columns) -> Data:
        x = (placed(part, own, every.names, path) for part in (data.train_x, data.test_x))
        return replace(data, train_x=next(x), test_x=next(x), columns=every)

    return {path: alike(path, files[path], columns) for path, columns in tables}


def _with_common_labels(files: Mapping[str, Data], where: str) -> list[Data]:
    """Number the labels of all files in one way."""
    parts = list(files.values())
    numbered = [all(name.isdecimal() for name in data.label_names) for data in parts]
    if any(numbered) and not all(numbered):
        paths = list(files)
        raise DataError(
            f"{where}: expected all labels to be numbers or all to be names, got "
            f"numbers in {paths[numbered.index(True)]} and names in {paths[numbered.index(False)]}"
        )
    different = {name for data in parts for name in data.label_names}
    names = sorted(different, key=int) if all(numbered) else sorted(different)
    return [_renumbered(data, names) for data in parts]


def _renumbered(data: Data, names: list[str]) -> Data:
    numbers = np.array([names.index(name) for name in data.label_names], dtype=np.int64)
    return replace(
        data,
        train_y=numbers[data.train_y],
        test_y=numbers[data.test_y],
        label_names=tuple(names),
    )


def _stem(path: str) -> str:
    """Return the file name without prefix, folder and endings: ``npz:a/b.csv.gz`` is ``b``."""
    name = Path(path).name.removeprefix("npz:").removeprefix("csv:").removeprefix("jsonl:")
    name = name.removeprefix("table:")
    for ending in (".gz", ".csv", ".npz", ".jsonl", ".parquet"):
        if name.lower().endswith(ending):
            name = name[: -len(ending)]
    return name
