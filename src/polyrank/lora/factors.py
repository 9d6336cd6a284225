"""LoRA factors with numbered slots, and what is done to them without dense matrices.

A slot is row j of ``a`` with column j of ``b``, numbered on the server. A convolution's
factors are flattened: ``a`` (r, in * kh * kw), ``b`` (out, r). A factor that is not sent has
no numbers: ``a`` (r, 0) or ``b`` (0, r).
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeAlias

import torch
from torch import Tensor

from polyrank.errors import ShapeError
from polyrank.lora.alignment import aligned
from polyrank.seeding import derive

SLOT_NUMBER_BYTES = 4


@dataclass(frozen=True)
class Factors:
    """The pair of one module; the module's update is ``scaling * b @ a``.

    Args:
        a: (r, d_in).
        b: (d_out, r).
        slots: (r,) int64, increasing: the server's numbers of these slots.
    """

    a: Tensor
    b: Tensor
    slots: Tensor

    def __post_init__(self) -> None:
        """Lay out both factors as torch does, so that products of them have the same bits."""
        object.__setattr__(self, "a", aligned(self.a))
        object.__setattr__(self, "b", aligned(self.b))

    @property
    def rank(self) -> int:
        """Number of slots r."""
        return self.slots.numel()

    @property
    def is_prefix(self) -> bool:
        """Whether the slots are 0 .. r-1, so that their numbers need not be sent."""
        return is_prefix(self.slots)

    @property
    def parts(self) -> str:
        """Which factors are here: ``"ab"``, ``"a"``, ``"b"`` or none."""
        return "a" * bool(self.a.shape[1]) + "b" * bool(self.b.shape[0])

    def only(self, parts: str) -> "Factors":
        """Return these factors alone, the others without numbers; nothing is copied."""
        a = self.a if "a" in parts else self.a[:, :0]
        return Factors(a, self.b if "b" in parts else self.b[:0], self.slots)

    def completed(self, other: "Factors") -> "Factors":
        """Return ``self`` with the factors it lacks taken from ``other``, of the same slots."""
        a = self.a if self.a.shape[1] else other.a
        return Factors(a, self.b if self.b.shape[0] else other.b, self.slots)

    def take(self, slots: Tensor) -> "Factors":
        """Copy the slots with the given server numbers; ``self`` must own them all.

        Raises:
            ShapeError: a slot is not here.
        """
        if self.is_prefix and is_prefix(slots):
            if slots.numel() > self.rank:
                raise ShapeError(f"slots 0..{slots.numel() - 1} were asked of {self.rank}")
            count = slots.numel()
            return Factors(self.a[:count].clone(), self.b[:, :count].clone(), slots)
        places = torch.searchsorted(self.slots, slots)
        if (places >= self.rank).any() or not torch.equal(self.slots[places], slots):
            raise ShapeError(f"slots {slots.tolist()} were asked of {self.slots.tolist()}")
        return Factors(self.a[places], self.b[:, places], slots)

    def without(self, slots: Tensor) -> "Factors":
        """Copy all slots but those with the given server numbers."""
        return self.take(self.slots[~torch.isin(self.slots, slots)])

    def with_slots(self, other: "Factors") -> "Factors":
        """Return these slots and the other ones, which ``self`` does not own, in order."""
        slots, order = torch.cat([self.slots, other.slots]).sort()
        a, b = torch.cat([self.a, other.a]), torch.cat([self.b, other.b], dim=1)
        return Factors(a[order], b[:, order], slots)


Adapter: TypeAlias = Mapping[str, Factors]
Tensors: TypeAlias = Mapping[str, Tensor]


def prefix(rank: int) -> Tensor:
    """Return the slot numbers 0 .. rank-1."""
    return torch.arange(rank)


def is_prefix(slots: Tensor) -> bool:
    """Whether increasing slot numbers are 0 .. r-1."""
    return slots.numel() == 0 or int(slots[-1]) == slots.numel() - 1


def new_factors(rank: int, d_in: int, d_out: int, generator: torch.Generator) -> Factors:
    """Start a module as LoRA does: ``a`` Kaiming uniform in [-1/sqrt(d_in), 1/sqrt(d_in)], ``b`` 0.

    Hu et al., "LoRA: Low-Rank Adaptation of Large Language Models", 2021; the bound is
    that of PEFT (``kaiming_uniform_`` with a = sqrt(5)).
    """
    bound = 1 / math.sqrt(d_in)
    a = torch.empty(rank, d_in).uniform_(-bound, bound, generator=generator)
    return Factors(a, torch.zeros(d_out, rank), prefix(rank))


def start_factors(
    shape: tuple[int, int], slots: int, seed: int, module: str, round: int = 0
) -> Factors:
    """Draw the factors with which a module starts after a round, the first after round 0.

    The first rows of ``a`` are the same whatever the number of slots.

    Args:
        shape: (d_in, d_out).
        slots: number of slots.
        seed: the run's root seed.
        module: its name.
        round: rounds finished.
    """
    path = ("factors", round, module) if round else ("factors", module)
    generator = torch.Generator().manual_seed(derive(seed, *path))
    return new_factors(slots, *shape, generator)


def revive_dead_slots(factors: Factors, generator: torch.Generator) -> Factors:
    """Give each slot whose row of ``a`` and column of ``b`` are all zero a fresh start.

    Such a slot has no gradient and would stay dead for ever.
    """
    dead = (factors.a == 0).all(dim=1) & (factors.b == 0).all(dim=0)
    if not dead.any():
        return factors
    fresh = new_factors(factors.rank, factors.a.shape[1], factors.b.shape[0], generator)
    a = torch.where(dead[:, None], fresh.a.to(factors.a.dtype), factors.a)
    return Factors(a, factors.b, factors.slots)


def product_norm(factors: Factors) -> float:
    """Return the Frobenius norm of ``b @ a`` without forming it.

    ``||b a||² = sum((bᵀ b) * (a aᵀ))``, in float64.

    Example:
        >>> a, b = torch.ones(1, 3), torch.ones(4, 1)
        >>> product_norm(Factors(a, b, prefix(1))) ** 2
        12.0
    """
    a, b = factors.a.double(), factors.b.double()
    return math.sqrt(max(0.0, float(((b.T @ b) * (a @ a.T)).sum())))


def adapter_bytes(adapter: Adapter) -> int:
    """Bytes of an adapter on the wire: both factors, and slot numbers unless a prefix."""
    return sum(
        f.a.nbytes + f.b.nbytes + (0 if f.is_prefix else SLOT_NUMBER_BYTES * f.rank)
        for f in adapter.values()
    )


def tensors_bytes(tensors: Tensors) -> int:
    """Bytes of named tensors on the wire."""
    return sum(t.nbytes for t in tensors.values())


def shared_adapter(adapter: Adapter) -> dict[str, Factors]:
    """Move an adapter to memory that other processes can map."""
    return {
        m: Factors(*(t.share_memory_() for t in (f.a, f.b, f.slots))) for m, f in adapter.items()
    }


def flatten_adapter(adapter: Adapter, start: str) -> dict[str, Tensor]:
    """Name an adapter's tensors ``start/module/a``, ``.../b`` and ``.../slots`` for storing."""
    named: dict[str, Tensor] = {}
    for module, f in adapter.items():
        named |= {f"{start}/{module}/{part}": getattr(f, part) for part in ("a", "b", "slots")}
    return named


def unflatten_adapter(tensors: Tensors, start: str) -> dict[str, Factors]:
    """Undo ``flatten_adapter``, in the stored order."""
    modules = dict.fromkeys(
        name[len(start) + 1 : -2]
        for name in tensors
        if name.startswith(f"{start}/") and name.endswith("/a")
    )
    return {
        m: Factors(*(tensors[f"{start}/{m}/{part}"] for part in ("a", "b", "slots")))
        for m in modules
    }
