"""Weighted sums over clients, of factors by slot and of extras, in float32 or better."""

import torch
from torch import Tensor

from polyrank.errors import ShapeError
from polyrank.lora.factors import Factors, Tensors


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

    Clients that send one factor alone all send the same one; the other stays the server's.

    Args:
        previous: the server's factors, which fix r_max, d_in and d_out.
    """

    def __init__(self, previous: Factors) -> None:
        self.a = torch.zeros(previous.a.shape, dtype=wide(previous.a))
        self.b = torch.zeros(previous.b.shape, dtype=wide(previous.b))
        self.owners = torch.zeros(previous.rank, dtype=torch.float64)
        self.total = 0.0
        self.parts = ""

    def add(self, factors: Factors | None, client_weight: float) -> "SlotSums":
        """Take in one client; None counts towards the total only.

        Raises:
            ShapeError: d_in, d_out or a slot does not fit the server's, or another factor is
                missing than that which the other clients do not send.
        """
        self.total += client_weight
        if factors is None or not factors.rank:
            return self
        if self.parts and factors.parts != self.parts:
            raise ShapeError(
                f"expected factors {self.parts!r} of every client, got {factors.parts!r}"
            )
        self.parts = factors.parts
        check_fits(factors, self.a, self.b, self.parts)
        if factors.is_prefix:
            rank = factors.rank
            if "a" in self.parts:
                self.a[:rank].add_(factors.a, alpha=client_weight)
            if "b" in self.parts:
                self.b[:, :rank].add_(factors.b, alpha=client_weight)
            self.owners[:rank] += client_weight
            return self
        if "a" in self.parts:
            self.a.index_add_(0, factors.slots, factors.a.to(self.a), alpha=client_weight)
        if "b" in self.parts:
            place = torch.zeros(factors.rank, len(self.owners), dtype=self.b.dtype)
            place[torch.arange(factors.rank), factors.slots] = client_weight
            self.b.addmm_(factors.b.to(self.b), place)  # twice as fast as index_add_ on columns
        self.owners[factors.slots] += client_weight
        return self

    def divided_by(
        self, weights: Tensor, previous: Factors, where: Tensor | None = None
    ) -> Factors:
        """Return the sums over ``weights`` (r,), in the types of ``previous``.

        Args:
            weights: (r,), none of them 0.
            previous: gives a factor that nobody sent, as it is.
            where: (r,) slots that take the new value; the others keep that of ``previous``.
        """
        a, b = previous.a, previous.b
        if "a" in self.parts:
            mean = (self.a / weights[:, None].to(self.a)).to(a.dtype)
            a = mean if where is None else torch.where(where[:, None], mean, a)
        if "b" in self.parts:
            mean = (self.b / weights.to(self.b)).to(b.dtype)
            b = mean if where is None else torch.where(where, mean, b)
        return Factors(a, b, previous.slots)


def check_fits(factors: Factors, a: Tensor, b: Tensor, parts: str = "ab") -> None:
    """Raise ShapeError unless a client's factors fit the server's ``a`` and ``b``.

    Args:
        factors: of the client; those that are not in ``parts`` are not looked at.
        a: (r_max, d_in).
        b: (d_out, r_max).
        parts: ``"ab"``, ``"a"`` or ``"b"``.
    """
    d_in, d_out, slots = a.shape[1], b.shape[0], a.shape[0]
    wanted = {"a": (factors.rank, d_in), "b": (d_out, factors.rank)}
    for part in parts or "ab":
        if getattr(factors, part).shape != wanted[part]:
            raise ShapeError(
                f"expected {part} {wanted[part]}, got {tuple(getattr(factors, part).shape)}"
            )
    if int(factors.slots[-1]) >= slots or int(factors.slots[0]) < 0:
        raise ShapeError(f"slots reach {int(factors.slots[-1])}, the server has {slots}")


def wide(tensor: Tensor) -> torch.dtype:
    """Return the type to sum in: float32, or float64 where the tensor is."""
    return torch.float64 if tensor.dtype == torch.float64 else torch.float32
