"""From a data set's inputs to examples as the model of a run takes them."""

from pathlib import Path

import numpy as np

from polyrank.datasets import Data
from polyrank.errors import DataError, SettingsError
from polyrank.inputs.arrays import Encoded, Examples, ExampleSet
from polyrank.models import MODELS
from polyrank.settings.schema import Settings


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
        DataError: the model takes inputs of another kind, or of another number of channels than
            is to be normalised.
        SettingsError: the calibrated loss is asked for and nothing is classified, or the model
            does not leave it to the settings how inputs are normalised.
    """
    factory = MODELS.build(settings.model)
    given = settings.data.normalise
    if factory.pretrained is None:
        examples = Examples.from_arrays(inputs, labels)
        return Encoded(examples.normalised(given.mean, given.std) if given else examples)
    if given:
        raise SettingsError(
            f"data.normalise: model {settings.model.kind!r} prepares its inputs itself, as it was "
            "pre-trained with them; leave it out"
        )
    encoded = factory.pretrained.encode(inputs, labels, cache, factory.options())
    if predicts_tokens(encoded.examples) and settings.training.local_loss == "calibrated":
        raise SettingsError(
            "training.local_loss = 'calibrated': expected a task with labels, this model "
            "predicts tokens; use 'cross_entropy'"
        )
    return encoded


def predicts_tokens(examples: ExampleSet) -> bool:
    """Whether it is the next token that is to be said, and not a label."""
    return getattr(examples, "starts", None) is not None


def check_labels(data: Data, examples: ExampleSet) -> None:
    """Raise DataError if there are no labels and the model needs them."""
    if not data.labelled and not predicts_tokens(examples):
        raise DataError(
            f"{data.source}: expected labels, since this model classifies, got none; "
            "name where they are with data.label"
        )


def check_several(data: Data, examples: ExampleSet) -> None:
    """Raise DataError if the model is to tell labels apart and the training rows have only one."""
    present = np.unique(data.train_y)
    if len(present) < 2 and not predicts_tokens(examples):
        name = data.label_names[present[0]] if len(present) else "none"
        raise DataError(
            f"{data.source}: expected at least two labels to tell apart, got {name!r} alone"
        )


def cut_texts(*parts: Encoded) -> dict[str, int] | None:
    """Sum up how many texts there are and how many were cut; None if these are no texts."""
    if parts[0].max_length is None:
        return None
    return {
        "texts": sum(len(part.examples) for part in parts),
        "cut": sum(part.cut for part in parts),
        "max_length": parts[0].max_length,
    }
