"""The scaling of a table's inputs, as buffers of the model that is given them.

A model that has ``input_scaling_mean`` and ``input_scaling_deviation`` in its state scales its
inputs before anything else; the names of its own parts stay what they are. As buffers they go
the way of all extras: to clients, into states and exports. A shell is built without them, and
gets them where the weights that are put in have these names.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

MEAN, DEVIATION = "input_scaling_mean", "input_scaling_deviation"


def add_scaling(model: nn.Module, inputs: int) -> None:
    """Let a model scale its inputs (n, ``inputs``), unless it does so already.

    All keep their values until others are put in; a missing number (NaN) becomes the mean.
    """
    if not has_scaling(model):
        model.register_buffer(MEAN, torch.zeros(inputs))
        model.register_buffer(DEVIATION, torch.ones(inputs))
        model.register_forward_pre_hook(_scaled)


def has_scaling(model: nn.Module) -> bool:
    """Tell whether a model scales its inputs."""
    return MEAN in dict(model.named_buffers(recurse=False))


def add_scaling_of(model: nn.Module, weights: Mapping[str, Tensor]) -> None:
    """Let a model scale its inputs if ``weights`` have what it takes."""
    if MEAN in weights:
        add_scaling(model, weights[MEAN].numel())


def scaling_tensors(
    inputs: int, columns: Sequence[int], mean: Tensor, deviation: Tensor
) -> dict[str, Tensor]:
    """Return the buffers, float32, by which some inputs are scaled and the others are not.

    Args:
        inputs: how many there are in all.
        columns: the places of the k that are scaled.
        mean: (k,) of them.
        deviation: (k,) of them, above 0.
    """
    found = {MEAN: torch.zeros(inputs), DEVIATION: torch.ones(inputs)}
    for name, values in ((MEAN, mean), (DEVIATION, deviation)):
        found[name][torch.tensor(columns, dtype=torch.int64)] = values.float()
    return found


def is_scaling(name: str) -> bool:
    """Tell whether a tensor of a state is one of these buffers."""
    return name in (MEAN, DEVIATION)


def _scaled(model: nn.Module, given: tuple[Any, ...]) -> tuple[Any, ...]:
    mean, deviation = model.get_buffer(MEAN), model.get_buffer(DEVIATION)
    return (((given[0] - mean) / deviation).nan_to_num(nan=0.0), *given[1:])
