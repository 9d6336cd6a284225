"""Put an adapter that was read from a PEFT folder in the place of a run's first slots."""

import torch
from torch import Tensor

from polyrank.errors import AdapterError
from polyrank.lora.factors import Adapter, Factors, Tensors


def place_saved(given: Tensors, extras: Tensors) -> dict[str, Tensor]:
    """Put the saved parameters of an adapter in the place of a run's first extras.

    Raises:
        AdapterError: a parameter is not trained here, or its shape differs.
    """
    for name, tensor in given.items():
        if name not in extras:
            raise AdapterError(
                f"init_adapter has {name!r}, trained in full; the extras of this run are "
                f"{', '.join(extras) or 'none'}: see adapter.extras"
            )
        if tensor.shape != extras[name].shape:
            raise AdapterError(
                f"init_adapter, {name!r}: shape {tuple(tensor.shape)}, expected "
                f"{tuple(extras[name].shape)}"
            )
    return {n: given[n].to(t).clone() if n in given else t for n, t in extras.items()}


def place_adapter(given: Adapter, server: Adapter) -> dict[str, Factors]:
    """Put an adapter into the first slots of the server's; the other slots keep their start.

    In SVD form its slots have 1 as ``e``.

    Raises:
        AdapterError: a module is not adapted here, its size differs, or its rank is too large.
    """
    for name in given.keys() - server.keys():
        raise AdapterError(f"init_adapter has module {name!r}; this run adapts {', '.join(server)}")
    placed = dict(server)
    for name, new in given.items():
        old = server[name]
        sizes = (new.a.shape[1], new.b.shape[0]), (old.a.shape[1], old.b.shape[0])
        if sizes[0] != sizes[1]:
            raise AdapterError(
                f"init_adapter, module {name!r}: (d_in, d_out) {sizes[0]}, expected {sizes[1]}"
            )
        if new.rank > old.rank:
            raise AdapterError(
                f"init_adapter, module {name!r}: rank {new.rank} does not fit r_max {old.rank}"
            )
        a = torch.cat([new.a.to(old.a), old.a[new.rank :]])
        b = torch.cat([new.b.to(old.b), old.b[:, new.rank :]], dim=1)
        e = old.e if old.e is None else torch.cat([old.e.new_ones(new.rank, 1), old.e[new.rank :]])
        placed[name] = Factors(a, b, old.slots, e)
    return placed
