"""The server's state as named tensors and a JSON header, and back."""

from collections.abc import Collection, Mapping
from dataclasses import replace
from typing import Annotated, Any

import torch
from pydantic import Field, TypeAdapter
from torch import Tensor

from polyrank.aggregators.aggregator import ServerModel
from polyrank.disk.checkpoint import join_model, split_model
from polyrank.lora.base_change import BaseChange
from polyrank.lora.factors import (
    Factors,
    Tensors,
    flatten_adapter,
    is_prefix,
    prefix,
    unflatten_adapter,
)
from polyrank.server.catching_up import Held
from polyrank.server.state import ServerState

_OBSERVED = TypeAdapter(dict[str, dict[str, tuple[list[int], list[float]]]])
_COUNTS = TypeAdapter(tuple[int, dict[str, int], int])
_ERRORS = TypeAdapter(dict[str, Annotated[float, Field(ge=0, lt=1)]])
_DOWN = TypeAdapter(Annotated[int, Field(ge=1)] | None)
_HELD = TypeAdapter(dict[str, dict[str, int]])
HELD = "held"
AVERAGE, MEMORY = "average/", "memory/"


def pack_state(state: ServerState) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Turn a state into named tensors and a JSON header."""
    tensors, base = _pack_model(state.model)
    tensors |= {MEMORY + name: tensor for name, tensor in state.memory.items()}
    if state.average:
        averaged, _ = _pack_model(state.average)
        # after the first round the average is the model; a file may hold no tensor twice
        tensors |= {AVERAGE + name: tensor.clone() for name, tensor in averaged.items()}
    held, places = _pack_held(state.held)
    tensors |= held
    header = {
        "round": state.round,
        "plan": _plan_as_json(state),
        "planned": state.planned,
        "trained": dict(state.trained),
        "base": base,
        "allocator": state.allocator,
        "observed": state.observed,
        "sent": state.sent,
        "suspect": state.suspect,
        "errors": dict(state.errors),
        "held": places,
        "down": state.down,
    }
    return tensors, header


def unpack_state(tensors: Tensors, header: Mapping[str, Any]) -> ServerState:
    """Rebuild a state from its tensors and header."""
    average = _starting_with(AVERAGE, tensors)
    plan = {
        client: {m: prefix(s) if isinstance(s, int) else torch.tensor(s) for m, s in of.items()}
        for client, of in header["plan"].items()
    }
    return ServerState(
        _unpack_model(tensors, header["base"]),
        plan,
        *_COUNTS.validate_python((header["round"], header["trained"], header["planned"])),
        _starting_with(MEMORY, tensors),
        _unpack_model(average, header["base"]) if average else None,
        header["allocator"],
        _OBSERVED.validate_python(header["observed"]),
        header["sent"],
        header["suspect"],
        _ERRORS.validate_python(header["errors"]),
        _unpack_held(tensors, header["held"]),
        _DOWN.validate_python(header["down"]),
    )


def check_state_fits(
    state: ServerState, start: ServerModel, clients: Collection[str], *, fewer: bool = False
) -> None:
    """Check that a state is one of the run that starts from this model, for its clients.

    Args:
        state: as saved.
        start: the model that the run starts from, with as many slots as it may have.
        clients: of the run.
        fewer: modules may have fewer slots than that.

    Raises:
        ValueError: it is not.
    """
    for model in (state.model, state.exported):
        like = _as_few_slots(start, model) if fewer else start
        for expected, came in zip(_sizes(like), _sizes(model), strict=True):
            if expected != came:
                raise ValueError(f"expected tensors of sizes {expected}, got {came}")
    start = _as_few_slots(start, state.model) if fewer else start
    modules = start.adapter.keys()
    if set(state.plan) != set(clients) or any(of.keys() - modules for of in state.plan.values()):
        raise ValueError(f"expected slots of {len(clients)} clients in {', '.join(modules)}")
    for client, of in state.plan.items():
        for module, slots in of.items():
            if slots.dim() != 1 or not torch.isin(slots, start.adapter[module].slots).all():
                raise ValueError(f"client {client!r}, module {module!r}: slots that are not there")


def _as_few_slots(start: ServerModel, model: ServerModel) -> ServerModel:
    """Return the start with as many slots as a model has in each module, at most all its own."""
    ranks = {m: f.rank for m, f in model.adapter.items()}
    adapter = {
        m: f.take(prefix(min(ranks.get(m, f.rank), f.rank))) for m, f in start.adapter.items()
    }
    return replace(start, adapter=adapter)


def _sizes(model: ServerModel) -> tuple[dict[str, tuple[int, ...]], ...]:
    factors = model.adapter.items()
    return (
        {n: tuple(x for t in (*f.tensors.values(), f.slots) for x in t.shape) for n, f in factors},
        {n: tuple(t.shape) for n, t in model.extras.items()},
    )


def _pack_held(held: Held) -> tuple[dict[str, Tensor], dict[str, dict[str, int]]]:
    """Return the factors that clients hold, each once, and who holds which by their number."""
    numbers: dict[int, int] = {}
    tensors: dict[str, Tensor] = {}
    places: dict[str, dict[str, int]] = {}
    for client, adapter in held.items():
        for module, factors in adapter.items():
            if id(factors) not in numbers:
                numbers[id(factors)] = len(numbers)
                number = str(numbers[id(factors)])
                tensors |= flatten_adapter({number: factors.cloned()}, HELD)
            places.setdefault(client, {})[module] = numbers[id(factors)]
    return tensors, places


def _unpack_held(tensors: Tensors, places: object) -> dict[str, dict[str, Factors]]:
    """Undo ``_pack_held``; clients that held the same still share it."""
    known = unflatten_adapter(tensors, HELD)
    return {
        client: {module: known[str(number)] for module, number in of.items()}
        for client, of in _HELD.validate_python(places).items()
    }


def _pack_model(model: ServerModel) -> tuple[dict[str, Tensor], dict[str, Any] | None]:
    tensors = join_model(model.adapter, model.extras)
    if model.base is None:
        return tensors, None
    tensors |= {f"base/{module}": total for module, total in model.base.totals.items()}
    for module, steps in model.base.recent.items():
        for place, (b, a) in enumerate(steps):
            tensors |= {f"recent/{place}/b/{module}": b, f"recent/{place}/a/{module}": a}
    recent = {module: len(steps) for module, steps in model.base.recent.items()}
    return tensors, {"version": model.base.version, "recent": recent}


def _unpack_model(tensors: Tensors, about: Mapping[str, Any] | None) -> ServerModel:
    adapter, extras = split_model(tensors)
    totals = _starting_with("base/", tensors)
    if about is None or not totals:
        return ServerModel(adapter, extras)
    recent = {
        module: tuple(
            (tensors[f"recent/{k}/b/{module}"], tensors[f"recent/{k}/a/{module}"])
            for k in range(count)
        )
        for module, count in about["recent"].items()
        if f"recent/0/b/{module}" in tensors or not count
    }
    return ServerModel(adapter, extras, BaseChange(about["version"], totals, recent))


def _starting_with(start: str, tensors: Tensors) -> dict[str, Tensor]:
    return {n.removeprefix(start): t for n, t in tensors.items() if n.startswith(start)}


def _plan_as_json(state: ServerState) -> dict[str, dict[str, int | list[int]]]:
    """A number r stands for the slots 0 .. r-1."""
    return {
        client: {m: len(s) if is_prefix(s) else s.tolist() for m, s in modules.items()}
        for client, modules in state.plan.items()
    }
