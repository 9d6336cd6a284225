"""Models that can be adapted, by name, or one's own ``"my_package:make_model"``.

An entry is a function that returns a ``torch.nn.Module`` taking a float batch and giving
logits (n, classes). It may ask for ``input_shape`` and ``classes``, which come from the
data; its other keyword-only parameters are options of the settings file.
"""

import inspect
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from polyrank.errors import SettingsError
from polyrank.table import Table, check_options

if TYPE_CHECKING:
    from torch import nn

MODELS = Table(
    "model",
    {
        "mlp": "polyrank.models.mlp:mlp",
        "cnn": "polyrank.models.cnn:cnn",
    },
    group="polyrank.models",
)

_FROM_DATA = ("input_shape", "classes")


def build_model(
    name: str, options: Mapping[str, Any], input_shape: Sequence[int], classes: int, seed: int
) -> "nn.Module":
    """Build a model with weights drawn from ``seed``; torch's own random state is left alone.

    Raises:
        SettingsError: an option is unknown or of the wrong type, or no module came back.
    """
    import torch

    make = MODELS.load(name)
    given = {"input_shape": tuple(input_shape), "classes": classes}
    asked = {k: v for k, v in given.items() if k in inspect.signature(make).parameters}
    for key in options.keys() & asked.keys():
        raise SettingsError(f"model {name!r}: {key!r} comes from the data and cannot be set")
    bound = check_options(make, {**options, **asked}, f"model {name!r}")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = make(**bound)
    if not isinstance(model, torch.nn.Module):
        raise SettingsError(
            f"model {name!r}: expected a torch.nn.Module, got {type(model).__name__}"
        )
    return model
