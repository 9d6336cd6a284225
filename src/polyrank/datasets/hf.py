"""Data sets of the Hugging Face hub, or saved to disk by its library ``datasets``."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from polyrank.datasets import checks, hf_columns
from polyrank.datasets.data import Data
from polyrank.errors import DataError


def hf(
    name: str,
    *,
    input: str | None = None,
    label: str = "label",
    group: str | None = None,
    train_split: str = "train",
    test_split: str | None = None,
    config: str | None = None,
) -> Data:
    """Read one column of texts or images and one of labels.

    Args:
        name: of a data set on the hub, or a folder that ``save_to_disk`` wrote.
        input: the column of inputs; may be left out if only one column can be it.
        label: the column of labels: class labels, whole numbers or strings.
        group: the column that names the natural client of a row, if there is one.
        train_split: the split to train on.
        test_split: the split to test on; by default ``test``, if there is one.
        config: which of several configurations of a hub data set.

    Raises:
        DataError: the package is missing, the data set cannot be loaded, or a split or
            column is missing or cannot be used.
    """
    splits = _load(name, config, train_split)
    for wanted in (train_split, *([test_split] if test_split else [])):
        if wanted not in splits:
            raise DataError(_missing(name, "split", wanted, splits))
    test_split = test_split or ("test" if "test" in splits else None)
    if test_split == train_split:
        raise DataError(f"hf:{name}: expected two splits, came {train_split!r} to train and test")
    parts = [splits[split] for split in (train_split, test_split) if split]
    for column in (label, *([input] if input else []), *([group] if group else [])):
        for part in parts if column != group else parts[:1]:
            if column not in part.features:
                raise DataError(_missing(name, "column", column, part.features))
    chosen = input or hf_columns.only_input(parts[0].features, {label, group}, f"hf:{name}")
    where = f"hf:{name}: column {chosen!r}"
    inputs = [hf_columns.inputs(part, chosen, where) for part in parts]
    checks.same_kind(inputs[0], inputs[-1], where)
    labels, names = hf_columns.labels(parts, label, f"hf:{name}: column {label!r}")
    n = len(inputs[0])
    return Data(
        train_x=inputs[0],
        train_y=labels[:n],
        test_x=inputs[1] if len(inputs) > 1 else inputs[0][:0],
        test_y=labels[n:],
        label_names=names,
        source=f"hf:{name}",
        train_groups=hf_columns.groups(parts[0], group, f"hf:{name}") if group else None,
    )


def _load(name: str, config: str | None, train_split: str) -> dict[str, Any]:
    """Return split name -> data set."""
    try:
        from datasets.exceptions import DatasetsError

        from datasets import load_dataset, load_from_disk
    except ImportError as error:
        raise DataError(
            f"hf:{name}: needs the package 'datasets': pip install 'polyrank[hub]'"
        ) from error
    folder = Path(name).expanduser()
    saved = any((folder / f).is_file() for f in ("dataset_dict.json", "state.json"))
    try:
        loaded = load_from_disk(str(folder)) if saved else load_dataset(name, config)
    except (OSError, ValueError, DatasetsError) as error:
        raise DataError(
            f"hf:{name}: expected a data set of the hub or a folder of save_to_disk, came "
            f"{type(error).__name__}: {error}"
        ) from error
    return dict(loaded) if isinstance(loaded, dict) else {train_split: loaded}


def _missing(name: str, kind: str, wanted: str, there: Iterable[str]) -> str:
    return f"hf:{name}: expected a {kind} {wanted!r}, came {', '.join(there) or 'none'}"
