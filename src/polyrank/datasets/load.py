"""The one way to get a data set: from a name, a file, or a list of files."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias

from polyrank.datasets.checks import existing_file, existing_folder
from polyrank.datasets.data import Data, with_test
from polyrank.datasets.files import concatenate
from polyrank.datasets.frames import read_frame
from polyrank.errors import DataError, UnknownNameError, nearest
from polyrank.registry import Found, Named, Registry

Loader: TypeAlias = Callable[[str], Data]

DATASETS: Registry[Loader] = Registry(
    "data set",
    {
        "digits": "polyrank.datasets.digits:digits",
        "npz": "polyrank.datasets.npz:npz",
        "csv": "polyrank.datasets.csv:csv",
        "table": "polyrank.datasets.table:table",
        "jsonl": "polyrank.datasets.jsonl:jsonl",
        "images": "polyrank.datasets.images:images",
        "hf": "polyrank.datasets.hf:hf",
        "given": "polyrank.datasets.given:given",
    },
    group="polyrank.datasets",
    make=Found.bound,
)

_SUFFIXES = {
    ".npz": "npz",
    ".csv": "csv",
    ".csv.gz": "csv",
    ".jsonl": "jsonl",
    ".jsonl.gz": "jsonl",
    ".parquet": "table",
}


def load(
    source: str | Sequence[str],
    *,
    seed: int,
    test: float = 0.2,
    options: Mapping[str, Any] | None = None,
) -> Data:
    """Load a data set and see to it that it has a test part.

    Args:
        source: ``digits``, ``npz:PATH``, ``csv:PATH``, ``table:PATH``, ``jsonl:PATH``,
            ``images:FOLDER``, ``hf:NAME`` or ``package.module:attribute`` of one's own; a path
            that ends in ``.npz``, ``.csv``, ``.csv.gz``, ``.parquet``, ``.jsonl`` or
            ``.jsonl.gz`` needs no prefix, and a .csv file of which ``target`` is named is a
            table. Or a list of such files, one per client.
        seed: root seed of the test part.
        test: share of the rows that become the test part if the data brings none, in [0, 1).
        options: keyword options of the loader; for a list of files, of each file's loader.

    Raises:
        UnknownNameError: no such data set.
        SettingsError: an option does not fit the loader, or ``test`` is out of range.
        DataError: the data cannot be read or used.
    """
    if isinstance(source, str):
        return with_test(_load_one(source, options or {}), test, seed)
    files = {item: _load_file(item, options or {}) for item in _distinct(source)}
    return with_test(concatenate(files), test, seed)


def glance(source: str) -> tuple[int, tuple[str, ...]]:
    """Read one data set before anyone has said what its columns mean.

    Returns:
        how many rows it has, and the names of the columns of a table or a file of texts.

    Raises:
        UnknownNameError: no such data set.
        DataError: the data cannot be read.
    """
    kind, path = _parse(source, {})
    if kind in ("csv", "table"):
        frame = read_frame(path)
        return len(next(iter(frame.values()))), tuple(frame)
    return len(load(source, seed=0, test=0.0).train_y), ()


def check_source(source: str | Sequence[str], options: Mapping[str, Any]) -> None:
    """Check the form of ``source`` and its options without reading any data.

    Raises:
        UnknownNameError: no such data set.
        SettingsError: an option is unknown, missing or of the wrong type.
        DataError: an empty list, or a file twice.
    """
    for item in [source] if isinstance(source, str) else _distinct(source):
        DATASETS.build(Named(kind_of(item, options), options), item)


def check_files(source: str | Sequence[str], options: Mapping[str, Any]) -> None:
    """Check that the files that a source and its options name are there, without reading them.

    Raises:
        DataError: one is not.
    """
    sources = [source] if isinstance(source, str) else source
    parsed = [_parse(item, options) for item in sources]
    files = [argument for kind, argument in parsed if kind in _SUFFIXES.values()]
    if files and options.get("test_path"):
        files.append(options["test_path"])
    for path in files:
        existing_file(path)
    for kind, argument in parsed:
        if kind == "images":
            existing_folder(argument)


def kind_of(source: str, options: Mapping[str, Any]) -> str:
    """Return the loader's name of a source."""
    return _parse(source, options)[0]


def _load_one(source: str, options: Mapping[str, Any]) -> Data:
    name, argument = _parse(source, options)
    data = DATASETS.build(Named(name, options), source)(argument)
    if not isinstance(data, Data):
        raise DataError(f"data set {source!r}: expected a Data, got {type(data).__name__}")
    count = len(data.label_names)
    for labels in (data.train_y, data.test_y):
        if len(labels) and not 0 <= labels.min() <= labels.max() < count:
            raise DataError(
                f"data set {source!r}: expected labels from 0 to {count - 1}, the places of its "
                f"{count} label_names, got {labels.min()} to {labels.max()}"
            )
    return data


def _load_file(source: str, options: Mapping[str, Any]) -> Data:
    if kind_of(source, options) not in _SUFFIXES.values():
        raise DataError(
            f"list of data files: expected .npz, .csv, .parquet or .jsonl files, got {source!r}"
        )
    return _load_one(source, options)


def _distinct(sources: Sequence[str]) -> Sequence[str]:
    if not sources:
        raise DataError("list of data files: expected at least one file, got none")
    twice = [item for i, item in enumerate(sources) if item in sources[:i]]
    if twice:
        raise DataError(f"list of data files: {twice[0]!r} is there twice")
    return sources


def _parse(source: str, options: Mapping[str, Any]) -> tuple[str, str]:
    """Split ``npz:PATH`` into the loader's name and its argument."""
    name, argument = _split(source)
    return ("table" if name == "csv" and "target" in options else name), argument


def _split(source: str) -> tuple[str, str]:
    name, _, argument = source.partition(":")
    if name in DATASETS.entries:
        return name, argument
    suffix = "".join(Path(source).suffixes[-2:]).lower()
    for ending, kind in _SUFFIXES.items():
        if suffix.endswith(ending):
            return kind, source
    if not argument:
        raise UnknownNameError(
            f"unknown data set {source!r}{nearest(name, DATASETS)}: expected digits, npz:PATH, "
            "csv:PATH, table:PATH, jsonl:PATH, images:FOLDER, hf:NAME, a path that ends in .npz, "
            ".csv, .parquet or .jsonl, a list of such paths, or 'package.module:attribute' of "
            "your own"
        )
    return source, ""
