"""Data sets of the Hugging Face hub, or saved to disk by its library ``datasets``."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from polyrank.datasets import checks, hf_columns, text_forms
from polyrank.datasets.data import Data
from polyrank.errors import DataError
from polyrank.hub import offline_where_it_cannot_be_reached


def hf(
    name: str,
    *,
    input: str | None = None,
    prompt: str | None = None,
    completion: str | None = None,
    label: str | None = None,
    group: str | None = None,
    train_split: str = "train",
    test_split: str | None = None,
    config: str | None = None,
) -> Data:
    """Read a column of texts, images or conversations, or prompts with completions.

    Conversations (lists of ``role`` and ``content``) and prompts with completions are for
    language models, which need no labels.

    Args:
        name: of a data set on the hub, or a folder that ``save_to_disk`` wrote.
        input: the column of inputs; by default ``messages`` if it holds conversations, then
            prompts with completions, then the one column that can be it.
        prompt: the column of prompts; by default ``prompt``, if there are completions too.
        completion: the column of completions; by default ``completion``, likewise.
        label: the column of labels: class labels, whole numbers or strings; by default
            ``label``, if there is one.
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
            raise DataError(_missing(f"hf:{name}", "split", wanted, splits))
    test_split = test_split or ("test" if "test" in splits else None)
    if test_split == train_split:
        raise DataError(f"hf:{name}: expected two splits, got {train_split!r} to train and test")
    parts = {"train": splits[train_split]} | ({"test": splits[test_split]} if test_split else {})
    return of_splits(
        parts,
        f"hf:{name}",
        input=input,
        prompt=prompt,
        completion=completion,
        label=label,
        group=group,
    )


def of_splits(
    splits: Mapping[str, Any],
    where: str,
    *,
    input: str | None = None,
    prompt: str | None = None,
    completion: str | None = None,
    label: str | None = None,
    group: str | None = None,
) -> Data:
    """Return the split ``train``, and ``test`` if there is one, as a data set.

    Args:
        splits: name -> data set of the library ``datasets``.
        where: for messages, and the source of the data.
        input: see ``hf``.
        prompt: see ``hf``.
        completion: see ``hf``.
        label: see ``hf``.
        group: see ``hf``.

    Raises:
        DataError: there is no split ``train``, or a column is missing or cannot be used.
    """
    if "train" not in splits:
        raise DataError(_missing(where, "split", "train", splits))
    parts = [splits[name] for name in ("train", "test") if name in splits]
    features = [part.features for part in parts]
    label = text_forms.label_column(label, features)
    _check_columns(where, features, label, input)
    _check_columns(where, features[:1], group)
    columns = _input_columns(features[0], input, prompt, completion, {label, group}, where)
    _check_columns(where, features, *columns)
    inputs = [hf_columns.column_inputs(part, columns, where) for part in parts]
    checks.same_kind(inputs[0], inputs[-1], f"{where}: column {columns[0]!r}")
    n = len(inputs[0])
    labels, names = text_forms.no_labels(sum(map(len, inputs)))
    if label:
        labels, names = hf_columns.labels(parts, label, f"{where}: column {label!r}")
    return Data(
        train_x=inputs[0],
        train_y=labels[:n],
        test_x=inputs[1] if len(inputs) > 1 else inputs[0][:0],
        test_y=labels[n:],
        label_names=names,
        source=where,
        train_groups=hf_columns.groups(parts[0], group, where) if group else None,
        labelled=label is not None,
    )


def _check_columns(where: str, parts: Iterable[Mapping[str, Any]], *columns: str | None) -> None:
    for column in filter(None, columns):
        for part in parts:
            if column not in part:
                raise DataError(_missing(where, "column", column, part))


def _input_columns(
    features: Mapping[str, Any],
    input: str | None,
    prompt: str | None,
    completion: str | None,
    taken: set[str | None],
    where: str,
) -> tuple[str, ...]:
    """Return the one column of inputs, or those of prompts and completions."""
    asked = input or prompt or completion
    if not asked and hf_columns.is_conversation(features.get("messages")):
        return ("messages",)
    pair = text_forms.pair_columns(features, input, prompt, completion, where)
    return pair or (input or hf_columns.only_input(features, taken, where),)


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
    offline = False
    try:
        with offline_where_it_cannot_be_reached(name) as offline:
            loaded = load_from_disk(str(folder)) if saved else load_dataset(name, config)
    except (OSError, ValueError, DatasetsError) as error:
        if offline and isinstance(error, OSError):
            raise DataError(
                f"hf:{name}: there is no such folder, the hub cannot be reached from here, and "
                "nothing of that name was downloaded before: give a folder that save_to_disk "
                f"wrote, or, where it can be reached, hf download --repo-type dataset {name}"
            ) from error
        raise DataError(
            f"hf:{name}: expected a data set of the hub or a folder of save_to_disk, got "
            f"{type(error).__name__}: {error}"
        ) from error
    return dict(loaded) if isinstance(loaded, dict) else {train_split: loaded}


def _missing(where: str, kind: str, wanted: str, there: Iterable[str]) -> str:
    return f"{where}: expected a {kind} {wanted!r}, got {', '.join(there) or 'none'}"
