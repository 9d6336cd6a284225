"""Weighted sums over clients, of factors by slot and of extras, in float32 or better."""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from polyrank.errors import ShapeError
from polyrank.lora.factors import ALL, NONE, Factors, Part, Parts, Tensors, is_prefix, of_parts


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


@dataclass(frozen=True)
class Term:
    """A part of what a client contributes to a sum: ``weight * tensor``, at its slots.

    Args:
        name: of the sum.
        tensor: as the client has it.
        weight: what it counts for.
        slots: (r,) rising, where along ``axis`` of the sum it belongs; None for all of it.
        axis: along which the tensor has the slots.
    """

    name: str
    tensor: Tensor
    weight: float
    slots: Tensor | None = None
    axis: int = 0


def slot_terms(factors: Factors | None, client_weight: float) -> Iterator[Term]:
    """Yield what a client contributes: its factors by slot, its slots' weights and its own.

    None, or factors without slots, count towards ``total`` only.
    """
    one = torch.ones(1, dtype=torch.float64)
    yield Term("total", one, client_weight)
    if factors is None or not factors.rank:
        return
    for part in sorted(factors.parts, key=lambda part: part.value):
        tensor = factors.tensors[part]
        yield Term(part.value, tensor, client_weight, factors.slots, part.axis)
    yield Term("owners", one.expand(factors.rank), client_weight, factors.slots)


class SlotSums:
    """Sums over clients, by name: of each factor by slot, and of weights.

    ``a`` (r_max, d_in), ``b`` (d_out, r_max) and any ``e`` (r_max, 1), in float32 or better;
    ``owners`` (r_max,), the weights of each slot's owners, and ``total`` (1,), of all clients, in
    float64. Clients that send one factor alone all send the same one; the others stay the
    server's.

    Args:
        previous: the server's factors, which fix r_max, d_in and d_out.
    """

    def __init__(self, previous: Factors) -> None:
        self.previous = previous
        self.values = {
            part.value: torch.zeros(t.shape, dtype=wide(t)) for part, t in previous.tensors.items()
        }
        self.values["owners"] = torch.zeros(previous.rank, dtype=torch.float64)
        self.values["total"] = torch.zeros(1, dtype=torch.float64)
        self.parts = NONE

    @property
    def owners(self) -> Tensor:
        """(r_max,) weight of each slot's owners."""
        return self.values["owners"]

    @property
    def total(self) -> float:
        """Weight of all clients."""
        return float(self.values["total"])

    def check(self, factors: Factors | None) -> None:
        """Check that a client's factors can be added to those that are in already.

        Raises:
            ShapeError: d_in, d_out or a slot does not fit the server's, or another factor is
                missing than that which the other clients do not send.
        """
        if factors is None or not factors.rank:
            return
        if self.parts and factors.parts != self.parts:
            raise ShapeError(
                f"expected factors {_named(self.parts)!r} of every client, "
                f"got {_named(factors.parts)!r}"
            )
        self.parts = factors.parts
        check_fits(factors, self.previous, self.parts)

    def add(self, factors: Factors | None, client_weight: float) -> "SlotSums":
        """Check and take in one client's factors.

        Raises:
            ShapeError: they do not fit.
        """
        self.check(factors)
        for term in slot_terms(factors, client_weight):
            self.take(term)
        return self

    def take(self, term: Term) -> None:
        """Add one term, in place."""
        total, tensor, slots = self.values[term.name], term.tensor, term.slots
        if slots is None:
            total.add_(tensor, alpha=term.weight)
        elif is_prefix(slots):
            total.narrow(term.axis, 0, len(slots)).add_(tensor, alpha=term.weight)
        elif term.axis == 0:
            total.index_add_(0, slots, tensor.to(total), alpha=term.weight)
        else:
            place = torch.zeros(len(slots), total.shape[1], dtype=total.dtype)
            place[torch.arange(len(slots)), slots] = term.weight
            total.addmm_(tensor.to(total), place)  # twice as fast as index_add_ on columns

    def divided_by(
        self, weights: Tensor, previous: Factors, where: Tensor | None = None
    ) -> Factors:
        """Return the sums over ``weights`` (r,), in the types of ``previous``.

        Args:
            weights: (r,), none of them 0.
            previous: gives a factor that nobody sent, as it is.
            where: (r,) slots that take the new value; the others keep that of ``previous``.
        """
        found = previous.tensors
        for part in self.parts:
            total, old, across = self.values[part.value], found[part], 1 - part.axis
            mean = (total / weights.unsqueeze(across).to(total)).to(old.dtype)
            found[part] = mean if where is None else torch.where(where.unsqueeze(across), mean, old)
        return of_parts(found, previous.slots)


def check_fits(factors: Factors, server: Factors, parts: Parts = ALL) -> None:
    """Raise ShapeError unless a client's factors fit the server's.

    Args:
        factors: of the client; those that are not in ``parts`` are not looked at.
        server: all slots.
        parts: which were sent; none of them is taken to be all.
    """
    if factors.parametrisation != server.parametrisation:
        raise ShapeError(
            f"expected factors in form {server.parametrisation!r}, got {factors.parametrisation!r}"
        )
    for part, held in server.tensors.items():
        wanted = list(held.shape)
        wanted[part.axis] = factors.rank
        came = factors.tensors[part].shape
        if part in (parts or ALL) and list(came) != wanted:
            raise ShapeError(f"expected {part.value} {tuple(wanted)}, got {tuple(came)}")
    if int(factors.slots[-1]) >= server.rank or int(factors.slots[0]) < 0:
        raise ShapeError(f"slots reach {int(factors.slots[-1])}, the server has {server.rank}")


def _named(parts: Parts) -> str:
    return "".join(part.value for part in Part if part in parts)


def wide(tensor: Tensor) -> torch.dtype:
    """Return the type to sum in: float32, or float64 where the tensor is."""
    return torch.float64 if tensor.dtype == torch.float64 else torch.float32
