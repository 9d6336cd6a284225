"""Data that are handed over in Python: data frames, data sets of PyTorch or Hugging Face, arrays.

Neither pandas nor torch nor ``datasets`` is imported for it; what comes is told apart by what it
offers.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from polyrank.datasets.arrays import of_arrays, of_items
from polyrank.datasets.data import Data
from polyrank.datasets.files import concatenate
from polyrank.datasets.frames import frame_of, is_frame
from polyrank.datasets.hf import of_splits
from polyrank.datasets.table import Reading
from polyrank.datasets.table_inputs import Missing
from polyrank.errors import DataError
from polyrank.registry import check_options

GIVEN = "given"  # the name of the source in the settings of a run
WHERE = "data"


def given(
    argument: str,
    *,
    target: str | None = None,
    group: str | None = None,
    drop: list[str] | None = None,
    categories: list[str] | dict[str, list[str]] | None = None,
    missing: Missing = "mean",
    scale: bool = True,
    input: str | None = None,
    prompt: str | None = None,
    completion: str | None = None,
    label: str | None = None,
) -> Data:
    """Stand for what is handed over in Python: ``polyrank.run(settings, data=...)``.

    Args:
        argument: nothing.
        target: of a data frame, as below: see ``table``.
        group: the column that names the natural client of a row, of a data frame or a data set
            of Hugging Face.
        drop: see ``table``.
        categories: see ``table``.
        missing: see ``table``.
        scale: see ``table``.
        input: of a data set of Hugging Face, as below: see ``hf``.
        prompt: see ``hf``.
        completion: see ``hf``.
        label: see ``hf``.

    Raises:
        DataError: always: the data are not here.
    """
    raise DataError(
        "the data of this run were handed over in Python and are not kept: hand them over again, "
        "as in polyrank.resume(folder, data=...) and polyrank.evaluate(folder, own=...)"
    )


def handed_over(data: object, options: Mapping[str, Any]) -> Data:
    """Return what somebody hands over as a data set.

    Args:
        data: a data frame; a ``Dataset`` or ``DatasetDict`` of Hugging Face; a ``Dataset`` of
            PyTorch with ``__len__``, whose items are pairs of input and label; a pair of arrays;
            ``Data``; or a mapping from the names of clients to one of these for each.
        options: of ``given``, those that go with it.

    Raises:
        DataError: it is nothing of this kind, or cannot be used.
        SettingsError: an option does not go with it.
    """
    if isinstance(data, Mapping) and not hasattr(data, "column_names"):
        if not data:
            raise DataError(f"{WHERE}: expected a mapping with at least one client, got none")
        parts = {str(client): _one(part, options, str(client)) for client, part in data.items()}
        return replace(concatenate(parts, "data of clients"), source=f"{len(parts)} clients")
    return _one(data, options, WHERE)


def _one(data: Any, options: Mapping[str, Any], where: str) -> Data:  # noqa: ANN401
    if isinstance(data, Data):
        return data
    if is_frame(data):
        reading = Reading(**check_options(Reading, options, f"{where}: a data frame"))
        return reading.data(frame_of(data, where), where)
    if hasattr(data, "column_names"):
        splits = dict(data) if isinstance(data, Mapping) else {"train": data}
        checked = check_options(of_splits, options, f"{where}: a data set of Hugging Face")
        return of_splits(splits, where, **checked)
    check_options(lambda: None, options, where)
    if isinstance(data, tuple | list) and len(data) == 2 and hasattr(data[0], "shape"):
        return of_arrays(data[0], data[1], where)
    if hasattr(data, "__getitem__") and hasattr(data, "__len__") and not isinstance(data, str):
        return of_items(data, where)
    raise DataError(
        f"{where}: expected a data frame, a data set of PyTorch or Hugging Face with a length, a "
        f"pair of arrays, or a mapping from clients to these, got {type(data).__name__}"
    )
