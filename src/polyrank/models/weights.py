"""The weights of a model by name, where tied ones have one name only."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from polyrank.errors import SettingsError
from polyrank.lora.alignment import ALIGNED, aligned, all_aligned
from polyrank.models.input_scaling import add_scaling_of
from polyrank.models.packed import need_bitsandbytes, packed_modules

_SMALL = 2**16  # bytes


def read_weights(model: nn.Module) -> dict[str, Tensor]:
    """Return a model's state without copying; of tied parameters the first name stands for all."""
    second = _second_names(model)
    return {n: t.detach() for n, t in model.state_dict().items() if n not in second}


def put_weights(model: nn.Module, weights: Mapping[str, Tensor]) -> None:
    """Make ``weights`` the model's own, without a copy if they are aligned; tied ones stay tied.

    Layers whose weights are packed into 4 bits become layers that hold them so, and a model
    scales its inputs where the weights say by what.

    Raises:
        SettingsError: a name is missing or unknown, or a shape differs.
    """
    make_room(model, weights)
    add_scaling_of(model, weights)
    second = _second_names(model)
    try:
        result = model.load_state_dict(all_aligned(weights), strict=False, assign=True)
    except RuntimeError as error:
        raise SettingsError(f"the weights do not fit the model: {error}") from error
    missing = sorted(set(result.missing_keys) - second.keys())
    if missing or result.unexpected_keys:
        raise SettingsError(
            f"the weights do not fit the model: missing {missing[:5]}, "
            f"unknown {sorted(result.unexpected_keys)[:5]}"
        )
    for name, first in second.items():
        path, _, leaf = name.rpartition(".")
        model.get_submodule(path)._parameters[leaf] = model.get_parameter(first)


def share_weights(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Move weights to memory that other processes can map.

    Each block of such memory is an open file, of which a process may have 1024. So large
    tensors are moved where they are, and copies of small ones lie in one block.
    """
    small = {n: t.contiguous() for n, t in weights.items() if t.nbytes < _SMALL}
    places, end = {}, 0
    for name, tensor in small.items():
        places[name] = end
        end += -(-tensor.nbytes // ALIGNED) * ALIGNED
    block = torch.empty(end, dtype=torch.uint8).share_memory_()
    shared = {}
    for name, tensor in weights.items():
        if name not in small:
            shared[name] = aligned(tensor).share_memory_()
            continue
        place = block[places[name] : places[name] + tensor.nbytes]
        shared[name] = place.view(tensor.dtype).view(tensor.shape).copy_(small[name])
    return shared


def _second_names(model: nn.Module) -> dict[str, str]:
    """Return every further name of a parameter, and the name that it has first."""
    first = {id(p): n for n, p in model.named_parameters()}
    every = model.named_parameters(remove_duplicate=False)
    return {n: first[id(p)] for n, p in every if first[id(p)] != n}


def make_room(model: Any, weights: Mapping[str, Tensor]) -> None:  # noqa: ANN401 - a mark is set
    """Put layers that hold 4 bits into a model where ``weights`` are packed.

    Raises:
        SettingsError: bitsandbytes is not installed.
    """
    names = packed_modules(weights)
    if not names:
        return
    need_bitsandbytes()
    from polyrank.models.four_bit import FourBitLinear

    layers = dict(model.named_modules())
    for name in names:
        layer = layers.get(name)
        if isinstance(layer, nn.Linear) and not isinstance(layer, FourBitLinear):
            model.set_submodule(name, FourBitLinear(layer))
    model.is_loaded_in_4bit = True  # by this PEFT chooses its layers
