"""Arrays in an .npz file of NumPy."""

import zipfile
import zlib
from pathlib import Path

import numpy as np

from polyrank.datasets import checks
from polyrank.datasets.data import Data
from polyrank.errors import DataError

_ARRAYS = ("train_x", "train_y", "test_x", "test_y", "train_groups")


def npz(path: str) -> Data:
    """Read ``train_x`` and ``train_y``, and if they are there ``test_x`` and ``test_y``.

    An array ``train_groups`` (strings or integers) names the natural client of each training
    row. Inputs: see ``Data``; uint8 is kept, other numbers become float32, string arrays are
    texts. Labels are texts or integers from 0 on; those that occur are numbered in their order.
    Other arrays are ignored; pickles are refused.

    Raises:
        DataError: the file is missing or damaged, an array is missing, pickled, or of the
            wrong dtype, shape or length, or inputs are not finite.
    """
    arrays = _read(checks.existing_file(path))
    for needed in ("train_x", "train_y"):
        if needed not in arrays:
            raise DataError(f"{path}: expected an array {needed!r}, got {_listed(arrays)}")
    if ("test_x" in arrays) != ("test_y" in arrays):
        raise DataError(f"{path}: expected test_x and test_y or neither, got {_listed(arrays)}")
    train_x, train_y = _pair(arrays, "train", path)
    test_x, test_y = train_x[:0], train_y[:0]
    if len(arrays.get("test_y", ())):
        test_x, test_y = _pair(arrays, "test", path)
        checks.same_kind(train_x, test_x, f"{path}: train_x and test_x")
    groups = None
    if "train_groups" in arrays:
        groups = checks.group_names(arrays["train_groups"], f"{path}: train_groups")
        checks.same_length(path, train_y=train_y, train_groups=groups)
    labels, names = _labels(train_y, test_y, path)
    n = len(train_y)
    return Data(train_x, labels[:n], test_x, labels[n:], names, path, groups)


def _read(path: Path) -> dict[str, np.ndarray]:
    """Return those of the arrays we know that are in the file."""
    if not zipfile.is_zipfile(path):
        raise DataError(f"{path}: expected an .npz archive, got another format or a cut-off file")
    name = "its list of arrays"
    arrays = {}
    try:
        with np.load(path, allow_pickle=False) as archive:
            for name in _ARRAYS:
                if name in archive.files:
                    arrays[name] = archive[name]
    except (OSError, EOFError, zipfile.BadZipFile, zlib.error, MemoryError) as error:
        raise DataError(f"{path}: cannot read {name}, the file is damaged: {error}") from error
    except (ValueError, NotImplementedError) as error:
        raise DataError(
            f"{path}: cannot read {name}: {error}. Expected plain arrays of numbers or strings; "
            "Python objects are refused, since unpickling them can run code"
        ) from error
    return arrays


def _pair(arrays: dict[str, np.ndarray], part: str, path: str) -> tuple[np.ndarray, np.ndarray]:
    """Return the checked inputs and labels of ``train`` or ``test``."""
    x, y = arrays[f"{part}_x"], arrays[f"{part}_y"]
    if x.ndim and y.ndim:
        checks.same_length(path, **{f"{part}_x": x, f"{part}_y": y})
    found = checks.inputs(x, f"{path}: {part}_x")
    if y.dtype.kind == "U" and y.ndim == 1:
        return found, y
    return found, checks.integer_labels(y, f"{path}: {part}_y")


def _labels(train: np.ndarray, test: np.ndarray, path: str) -> tuple[np.ndarray, tuple[str, ...]]:
    """Number the labels of both parts, one after the other, and name them."""
    parts = [part for part in (train, test) if len(part)]
    if len({part.dtype.kind == "U" for part in parts}) > 1:
        raise DataError(
            f"{path}: train_y and test_y: expected texts in both or integers in both, got "
            f"{train.dtype} and {test.dtype}"
        )
    if parts[0].dtype.kind != "U":
        return checks.numbered(np.concatenate(parts))
    return checks.text_labels(np.concatenate(parts).tolist(), f"{path}: labels")


def _listed(arrays: dict[str, np.ndarray]) -> str:
    return ", ".join(arrays) if arrays else "none of " + ", ".join(_ARRAYS)
