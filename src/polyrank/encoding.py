"""From a data set's inputs to examples as the model of a run takes them."""

from pathlib import Path

import numpy as np

from polyrank.errors import SettingsError
from polyrank.examples import Encoded, Examples
from polyrank.models import check_model, pretrained_of
from polyrank.settings import Settings


def encode(
    settings: Settings, inputs: np.ndarray, labels: np.ndarray, cache: Path | None
) -> Encoded:
    """Encode one part of a data set.

    Args:
        settings: of the run; the model decides what examples are.
        inputs: (n, ...), see ``polyrank.datasets.Data``.
        labels: (n,) int64.
        cache: folder where work that took long is kept, or None.

    Raises:
        DataError: the model takes inputs of another kind.
        SettingsError: the calibrated loss is asked for and nothing is classified.
    """
    about = pretrained_of(settings.model.kind)
    if about is None:
        return Encoded(Examples.from_arrays(inputs, labels))
    options = check_model(settings.model.kind, settings.model.options)
    encoded = about.encode(inputs, labels, cache, options)
    predicts_tokens = getattr(encoded.examples, "starts", None) is not None
    if predicts_tokens and settings.training.local_loss == "calibrated":
        raise SettingsError(
            "training.local_loss = 'calibrated': expected a task with labels, this model "
            "predicts tokens; use 'cross_entropy'"
        )
    return encoded


def cut_texts(*parts: Encoded) -> dict[str, int] | None:
    """Sum up how many texts there are and how many were cut; None if these are no texts."""
    if parts[0].max_length is None:
        return None
    return {
        "texts": sum(len(part.examples) for part in parts),
        "cut": sum(part.cut for part in parts),
        "max_length": parts[0].max_length,
    }
