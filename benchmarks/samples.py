"""Parts of the data sets that experiments use: the same rows in every run, drawn once."""

import csv
import gzip
from pathlib import Path

import numpy as np


def images(given: Path, out: Path, train: int = 12000, test: int = 4000) -> str:
    """Draw images of an ``.npz`` with ``train_x``, ``train_y``, ``test_x`` and ``test_y``.

    Returns:
        the ``data.source`` of the part, which lies in ``out``.
    """
    part = out / given.name
    if not part.exists():
        whole, draw = np.load(given), np.random.default_rng(0)
        rows = {"train": train, "test": test}
        order = {p: draw.permutation(len(whole[f"{p}_y"]))[:n] for p, n in rows.items()}
        np.savez(part, **{f"{p}_{k}": whole[f"{p}_{k}"][order[p]] for p in rows for k in "xy"})
    return f"npz:{part}"


def texts(folder: Path, name: str, out: Path, train: int, test: int) -> dict[str, str]:
    """Draw rows of ``NAME_train*.csv.gz`` and ``NAME_test*.csv.gz``.

    Returns:
        ``source`` and ``test_path`` of ``[data]``; the parts lie in ``out``.
    """
    parts = {}
    for part, count in (("train", train), ("test", test)):
        parts[part] = out / f"{name}_{part}.csv"
        if not parts[part].exists():
            (given,) = folder.glob(f"{name}_{part}*.csv.gz")
            with gzip.open(given, "rt", encoding="utf-8", newline="") as file:
                header, *lines = csv.reader(file)
            order = np.random.default_rng(0).permutation(len(lines))[:count]
            with parts[part].open("w", encoding="utf-8", newline="") as file:
                csv.writer(file).writerows([header, *(lines[k] for k in order)])
    return {"source": f"csv:{parts['train']}", "test_path": str(parts["test"])}
