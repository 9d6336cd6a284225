"""Weights packed into 4 bits, as bitsandbytes names them in a state.

Beside ``X.weight`` (n, 1), two numbers a byte, stand ``X.weight.absmax`` and others that
unpack it. Which layers of a model are packed is told by these names alone, so that the
weights of a run go the same way whatever they are held in: shared, saved, hashed, put in.
"""

import importlib.util
import json
import logging
import math
from collections.abc import Mapping

from torch import Tensor

from polyrank.errors import SettingsError

_MARK = ".weight.quant_state.bitsandbytes__"


def packed_modules(weights: Mapping[str, Tensor]) -> list[str]:
    """Return the modules whose weight is packed."""
    return [name.partition(_MARK)[0] for name in weights if _MARK in name]


def quiet_bitsandbytes() -> None:
    """Keep bitsandbytes from warning, when it is imported, of a kernel that is not used here."""
    logging.getLogger("bitsandbytes.backends.cpu.ops").setLevel(logging.ERROR)


def need_bitsandbytes() -> None:
    """Raise SettingsError if bitsandbytes is not installed."""
    quiet_bitsandbytes()
    if importlib.util.find_spec("bitsandbytes") is None:
        raise SettingsError(
            "model.dtype = 'nf4': needs the package 'bitsandbytes': pip install 'polyrank[4bit]'"
        )


def count_numbers(weights: Mapping[str, Tensor]) -> int:
    """Return how many numbers a model has; packed ones count as what they unpack to."""
    packed = set(packed_modules(weights))
    total = 0
    for name, tensor in weights.items():
        module, beside, _ = name.partition(".weight.")
        if not (beside and module in packed) and name.removesuffix(".weight") not in packed:
            total += tensor.numel()
        elif _MARK in name:
            total += math.prod(json.loads(bytes(tensor.tolist()))["shape"])
    return total
