"""What an aggregator is: a fold over updates, and what its paper promises of the result.

A fold takes updates one by one, so that the server's memory does not grow with the number
of clients. Most methods treat each module by itself: they write a ``ModuleFold`` and
``PerModule`` lifts it to whole updates, with the mean of the extras beside it.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeVar

import torch
from torch import Tensor

from polyrank.adapter import Adapter, Factors, Tensors
from polyrank.errors import ShapeError
from polyrank.messages import Download, Update

S = TypeVar("S")


@dataclass(frozen=True)
class ServerModel:
    """The global model: an adapter with all r_max slots of each module, and the extras."""

    adapter: Adapter
    extras: Tensors


class Fold(Protocol[S]):
    """One pass over updates; ``add`` may change its state in place, never its inputs."""

    def init(self, previous: ServerModel) -> S:
        """Start from nothing."""

    def add(self, state: S, update: Update) -> S:
        """Take in one update."""

    def finish(self, state: S, previous: ServerModel) -> ServerModel:
        """Return the next global model."""


class ModuleFold(Protocol[S]):
    """One pass over the factors of one module."""

    def init(self, previous: Factors) -> S:
        """Start from nothing."""

    def add(self, state: S, factors: Factors | None, client_weight: float) -> S:
        """Take in one client's factors; None where the client does not have the module."""

    def finish(self, state: S, previous: Factors) -> Factors:
        """Return the next factors."""


def send_own_slots(model: ServerModel, slots: Mapping[str, Tensor]) -> Download:
    """Send a client the slots it owns, and the extras."""
    adapter = {m: model.adapter[m].take(s) for m, s in slots.items() if s.numel()}
    return Download(adapter, model.extras)


@dataclass(frozen=True)
class Aggregator:
    """What a paper calls its method.

    Args:
        fold: how updates become the next model.
        contracts: what it keeps of ``exact`` (the mean of the products), ``basis_free``
            (no matter which basis a client's factors are in), ``slot_wise`` (a slot that
            nobody owned keeps its value) and ``linear_sum`` (a function of sums over
            clients, as secure aggregation computes them); the contract tests run on these.
        send: what a client with these slots is sent.
    """

    fold: Fold[Any]
    contracts: frozenset[str] = frozenset()
    send: Callable[[ServerModel, Mapping[str, Tensor]], Download] = field(default=send_own_slots)


def aggregate(
    aggregator: Aggregator, updates: Iterable[Update], previous: ServerModel
) -> ServerModel:
    """Fold updates into the next global model; ``updates`` are read once."""
    state = aggregator.fold.init(previous)
    for update in updates:
        state = aggregator.fold.add(state, update)
    return aggregator.fold.finish(state, previous)


def fold_module(
    fold: ModuleFold[S], updates: Iterable[tuple[Factors, float]], previous: Factors
) -> Factors:
    """Fold one module's (factors, client weight) pairs; ``updates`` are read once."""
    state = fold.init(previous)
    for factors, client_weight in updates:
        state = fold.add(state, factors, client_weight)
    return fold.finish(state, previous)


@dataclass(frozen=True)
class PerModule:
    """Lift a ``ModuleFold`` to a ``Fold``; extras become their weighted mean."""

    module: ModuleFold[Any]

    def init(self, previous: ServerModel) -> dict[str, Any]:
        """One state a module, and one for the extras."""
        modules = {name: self.module.init(f) for name, f in previous.adapter.items()}
        return {"modules": modules, "extras": ExtrasMean()}

    def add(self, state: dict[str, Any], update: Update) -> dict[str, Any]:
        """Take in one update."""
        modules = state["modules"]
        for name in modules:
            modules[name] = self.module.add(
                modules[name], update.adapter.get(name), update.examples
            )
        state["extras"].add(update.extras, update.examples)
        return state

    def finish(self, state: dict[str, Any], previous: ServerModel) -> ServerModel:
        """Return the next global model."""
        adapter = {
            name: self.module.finish(state["modules"][name], factors)
            for name, factors in previous.adapter.items()
        }
        return ServerModel(adapter, state["extras"].finish(previous.extras))


class ExtrasMean:
    """Weighted mean of named tensors, summed in float32 or better.

    Integer tensors, such as batch-norm counters, become their maximum: a mean would not
    be an integer.
    """

    def __init__(self) -> None:
        self.sums: dict[str, Tensor] = {}
        self.total = 0.0

    def add(self, extras: Tensors, client_weight: float) -> None:
        """Take in one client's extras."""
        self.total += client_weight
        for name, tensor in extras.items():
            if not tensor.is_floating_point():
                so_far = self.sums.get(name, tensor)
                self.sums[name] = torch.maximum(so_far, tensor)
                continue
            if name not in self.sums:
                self.sums[name] = torch.zeros(tensor.shape, dtype=wide(tensor))
            self.sums[name].add_(tensor, alpha=client_weight)

    def finish(self, previous: Tensors) -> dict[str, Tensor]:
        """Return the mean, in the types of ``previous``; without clients, ``previous``."""
        if not self.total:
            return dict(previous)
        return {
            name: (self.sums[name] / self.total if old.is_floating_point() else self.sums[name]).to(
                old.dtype
            )
            for name, old in previous.items()
        }


class SlotSums:
    """Weighted sums of rows of ``a`` and columns of ``b`` by slot, and of the owners' weights.

    Args:
        previous: the server's factors, which fix r_max, d_in and d_out.
    """

    def __init__(self, previous: Factors) -> None:
        self.a = torch.zeros(previous.a.shape, dtype=wide(previous.a))
        self.b = torch.zeros(previous.b.shape, dtype=wide(previous.b))
        self.owners = torch.zeros(previous.rank, dtype=torch.float64)
        self.total = 0.0

    def add(self, factors: Factors | None, client_weight: float) -> "SlotSums":
        """Take in one client; None counts towards the total only.

        Raises:
            ShapeError: d_in, d_out or a slot does not fit the server's.
        """
        self.total += client_weight
        if factors is None or not factors.rank:
            return self
        check_fits(factors, self.a, self.b)
        if factors.is_prefix:
            rank = factors.rank
            self.a[:rank].add_(factors.a, alpha=client_weight)
            self.b[:, :rank].add_(factors.b, alpha=client_weight)
            self.owners[:rank] += client_weight
        else:
            self.a.index_add_(0, factors.slots, factors.a.to(self.a), alpha=client_weight)
            place = torch.zeros(factors.rank, len(self.owners), dtype=self.b.dtype)
            place[torch.arange(factors.rank), factors.slots] = client_weight
            self.b.addmm_(factors.b.to(self.b), place)  # twice as fast as index_add_ on columns
            self.owners[factors.slots] += client_weight
        return self

    def divided_by(self, weights: Tensor, previous: Factors) -> Factors:
        """Return the sums over ``weights`` (r,), in the types of ``previous``."""
        a = (self.a / weights[:, None].to(self.a)).to(previous.a.dtype)
        b = (self.b / weights.to(self.b)).to(previous.b.dtype)
        return Factors(a, b, previous.slots)


def check_fits(factors: Factors, a: Tensor, b: Tensor) -> None:
    """Raise ShapeError unless a client's factors fit the server's ``a`` and ``b``."""
    d_in, d_out, slots = a.shape[1], b.shape[0], a.shape[0]
    if factors.a.shape != (factors.rank, d_in) or factors.b.shape != (d_out, factors.rank):
        raise ShapeError(
            f"expected a ({factors.rank}, {d_in}) and b ({d_out}, {factors.rank}), got "
            f"{tuple(factors.a.shape)} and {tuple(factors.b.shape)}"
        )
    if int(factors.slots[-1]) >= slots or int(factors.slots[0]) < 0:
        raise ShapeError(f"slots reach {int(factors.slots[-1])}, the server has {slots}")


def wide(tensor: Tensor) -> torch.dtype:
    """Return the type to sum in: float32, or float64 where the tensor is."""
    return torch.float64 if tensor.dtype == torch.float64 else torch.float32
