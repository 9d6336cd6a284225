"""LoRA factors with numbered slots, and what is done to them without dense matrices.

A slot is row j of ``a`` with column j of ``b``, in SVD form with number j of ``e`` too,
numbered on the server. A convolution's factors are flattened: ``a`` (r, in * kh * kw), ``b``
(out, r). A factor that is not sent has no numbers: ``a`` (r, 0), ``b`` (0, r) or ``e`` (r, 0).
"""

import math
from collections.abc import ItemsView, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import TypeAlias

import torch
from torch import Tensor

from polyrank.errors import ShapeError
from polyrank.lora.alignment import aligned
from polyrank.lora.shapes import Parametrisation
from polyrank.lora.slot_mask import mask_bytes
from polyrank.seeding import derive

SVD_DEVIATION = 0.02  # of the first numbers in SVD form


class Part(Enum):
    """One of the factors of a module, by its name in files and messages."""

    A = "a"
    B = "b"
    E = "e"

    @property
    def axis(self) -> int:
        """Where its slots are: 0 for rows, 1 for columns."""
        return 1 if self is Part.B else 0


Parts: TypeAlias = frozenset[Part]
ALL: Parts = frozenset(Part)
NONE: Parts = frozenset()
A: Parts = frozenset({Part.A})
B: Parts = frozenset({Part.B})


@dataclass(frozen=True)
class Factors:
    """The factors of one module; its update is ``scaling * b @ a``, with e ``b @ diag(e) @ a``.

    Args:
        a: (r, d_in).
        b: (d_out, r).
        slots: (r,) int64, increasing: the server's numbers of these slots.
        e: (r, 1) in SVD form, None in plain LoRA.
    """

    a: Tensor
    b: Tensor
    slots: Tensor
    e: Tensor | None = None

    def __post_init__(self) -> None:
        """Lay out the factors as torch does, so that products of them have the same bits."""
        for part, tensor in self.tensors.items():
            object.__setattr__(self, part.value, aligned(tensor))

    @property
    def tensors(self) -> dict[Part, Tensor]:
        """Every factor that the form has, one that is not sent without numbers."""
        pair = {Part.A: self.a, Part.B: self.b}
        return pair if self.e is None else {**pair, Part.E: self.e}

    @property
    def parametrisation(self) -> Parametrisation:
        """The form: plain LoRA, or the one with ``e``."""
        return "lora" if self.e is None else "svd"

    @property
    def rank(self) -> int:
        """Number of slots r."""
        return self.slots.numel()

    @property
    def is_prefix(self) -> bool:
        """Whether the slots are 0 .. r-1, so that their numbers need not be sent."""
        return is_prefix(self.slots)

    @property
    def parts(self) -> Parts:
        """Which factors are here."""
        return frozenset(p for p, tensor in self.tensors.items() if tensor.shape[1 - p.axis])

    @property
    def complete(self) -> bool:
        """Whether every factor that the form has is here."""
        return len(self.parts) == len(self.tensors)

    def folded(self) -> "Factors":
        """Return plain factors of the same update, ``e`` multiplied into ``b``."""
        return self if self.e is None else Factors(self.a, self.b * self.e.T, self.slots)

    def only(self, parts: Parts) -> "Factors":
        """Return these factors alone, the others without numbers; nothing is copied."""
        found = {p: t if p in parts else t.narrow(1 - p.axis, 0, 0) for p, t in self._each()}
        return of_parts(found, self.slots)

    def completed(self, other: "Factors") -> "Factors":
        """Return ``self`` with the factors it lacks taken from ``other``, of the same slots."""
        here = self.parts
        found = {p: t if p in here else other.tensors[p] for p, t in self._each()}
        return of_parts(found, self.slots)

    def sized(self, slots: Tensor) -> "Factors":
        """Return factors of the shapes and types that so many slots have; the numbers are others'.

        Args:
            slots: (r,) numbers, at most as many as are here.
        """
        return of_parts({p: t.narrow(p.axis, 0, len(slots)) for p, t in self._each()}, slots)

    def take(self, slots: Tensor) -> "Factors":
        """Copy the slots with the given server numbers; ``self`` must own them all.

        Raises:
            ShapeError: a slot is not here.
        """
        if self.is_prefix and is_prefix(slots):
            if slots.numel() > self.rank:
                raise ShapeError(f"slots 0..{slots.numel() - 1} were asked of {self.rank}")
            found = {p: t.narrow(p.axis, 0, slots.numel()).clone() for p, t in self._each()}
            return of_parts(found, slots)
        places = torch.searchsorted(self.slots, slots)
        if (places >= self.rank).any() or not torch.equal(self.slots[places], slots):
            raise ShapeError(f"slots {slots.tolist()} were asked of {self.slots.tolist()}")
        return self._ordered(places, slots)

    def cloned(self) -> "Factors":
        """Copy everything, so that both can stand in one file, which holds no tensor twice."""
        return of_parts({p: t.clone() for p, t in self._each()}, self.slots.clone())

    def without(self, slots: Tensor) -> "Factors":
        """Copy all slots but those with the given server numbers."""
        return self.take(self.slots[~torch.isin(self.slots, slots)])

    def with_slots(self, other: "Factors") -> "Factors":
        """Return these slots and the other ones, which ``self`` does not own, in order."""
        slots, order = torch.cat([self.slots, other.slots]).sort()
        both = {p: torch.cat([t, other.tensors[p]], dim=p.axis) for p, t in self._each()}
        return of_parts(both, slots)._ordered(order, slots)

    def overlaid(self, own: "Factors") -> "Factors":
        """Return ``self`` with the numbers of ``own`` in those slots that both have."""
        place = {int(slot): k for k, slot in enumerate(own.slots)}
        pairs = [(k, place[int(s)]) for k, s in enumerate(self.slots) if int(s) in place]
        if not pairs:
            return self
        mine, theirs = (torch.tensor(side) for side in zip(*pairs, strict=True))
        found = {p: t.clone() for p, t in self._each()}
        for part, tensor in found.items():
            tensor[_at(part, mine)] = own.tensors[part][_at(part, theirs)]
        return of_parts(found, self.slots)

    def _each(self) -> ItemsView[Part, Tensor]:
        return self.tensors.items()

    def _ordered(self, places: Tensor, slots: Tensor) -> "Factors":
        """Copy the slots at some places, under new numbers."""
        return of_parts({p: t[_at(p, places)] for p, t in self._each()}, slots)


def of_parts(tensors: Mapping[Part, Tensor], slots: Tensor) -> Factors:
    """Put the factors of a module together."""
    return Factors(**{part.value: tensor for part, tensor in tensors.items()}, slots=slots)


def _at(part: Part, places: Tensor) -> tuple[slice | Tensor, ...]:
    """Index a factor by places along its slots."""
    return (*[slice(None)] * part.axis, places)


Adapter: TypeAlias = Mapping[str, Factors]
Tensors: TypeAlias = Mapping[str, Tensor]


def prefix(rank: int) -> Tensor:
    """Return the slot numbers 0 .. rank-1."""
    return torch.arange(rank)


def first_slots(adapter: Adapter, slots: int) -> Adapter:
    """Return every module's first slots, all of one that has no more; no module for 0 slots."""
    return {m: f.take(prefix(min(slots, f.rank))) for m, f in adapter.items()} if slots else {}


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


def new_svd_factors(rank: int, d_in: int, d_out: int, generator: torch.Generator) -> Factors:
    """Start a module in SVD form: ``a`` and ``b`` normal with deviation 0.02, ``e`` 0.

    Wu et al., "FedARA", IEEE Transactions on Computers, 2026, https://arxiv.org/abs/2501.14406
    """
    each = [
        torch.empty(d_in + d_out).normal_(0, SVD_DEVIATION, generator=generator)
        for _ in range(rank)  # slot by slot, so that the first are the same whatever the rank
    ]
    drawn = torch.stack(each) if each else torch.empty(0, d_in + d_out)
    return Factors(drawn[:, :d_in], drawn[:, d_in:].T, prefix(rank), torch.zeros(rank, 1))


STARTS = {"lora": new_factors, "svd": new_svd_factors}


def start_factors(
    shape: tuple[int, int],
    slots: int,
    seed: int,
    module: str,
    round: int = 0,
    parametrisation: Parametrisation = "lora",
) -> Factors:
    """Draw the factors with which a module starts after a round, the first after round 0.

    The first slots are the same whatever the number of slots.

    Args:
        shape: (d_in, d_out).
        slots: number of slots.
        seed: the run's root seed.
        module: its name.
        round: rounds finished.
        parametrisation: the form.
    """
    path = ("factors", round, module) if round else ("factors", module)
    generator = torch.Generator().manual_seed(derive(seed, *path))
    return STARTS[parametrisation](slots, *shape, generator)


def revive_dead_slots(factors: Factors, generator: torch.Generator) -> Factors:
    """Give each slot of which two factors are all zero a fresh start.

    Such a slot has no gradient in any factor and would stay dead for ever. In plain LoRA that
    is both factors; in SVD form ``e`` alone may be 0, as it is at the start.
    """
    held = factors.tensors
    zero = torch.stack([(t == 0).all(dim=1 - part.axis) for part, t in held.items()])
    dead = zero.sum(dim=0) > 1
    if not dead.any():
        return factors
    start = STARTS[factors.parametrisation]
    fresh = start(factors.rank, factors.a.shape[1], factors.b.shape[0], generator).tensors
    revived = {
        part: torch.where(dead.unsqueeze(1 - part.axis), fresh[part].to(t.dtype), t)
        for part, t in held.items()
    }
    return of_parts(revived, factors.slots)


def product_norm(factors: Factors) -> float:
    """Return the Frobenius norm of the product without forming it, in SVD form with ``e``.

    ``||b a||² = sum((bᵀ b) * (a aᵀ))``, in float64.

    Example:
        >>> a, b = torch.ones(1, 3), torch.ones(4, 1)
        >>> product_norm(Factors(a, b, prefix(1))) ** 2
        12.0
    """
    plain = factors.folded()
    a, b = plain.a.double(), plain.b.double()
    return math.sqrt(max(0.0, float(((b.T @ b) * (a @ a.T)).sum())))


def adapter_bytes(adapter: Adapter) -> int:
    """Bytes of an adapter on the wire: all factors, and a mask of slots unless a prefix."""
    return sum(
        sum(t.nbytes for t in f.tensors.values()) + (0 if f.is_prefix else mask_bytes(f.slots))
        for f in adapter.values()
    )


def tensors_bytes(tensors: Tensors) -> int:
    """Bytes of named tensors on the wire."""
    return sum(t.nbytes for t in tensors.values())


def shared_adapter(adapter: Adapter) -> dict[str, Factors]:
    """Move an adapter to memory that other processes can map."""
    return {
        m: of_parts({p: t.share_memory_() for p, t in f.tensors.items()}, f.slots.share_memory_())
        for m, f in adapter.items()
    }


def flatten_adapter(adapter: Adapter, start: str) -> dict[str, Tensor]:
    """Name an adapter's tensors ``start/module/a``, ``.../b``, ``.../slots``, for storing."""
    named: dict[str, Tensor] = {}
    for module, f in adapter.items():
        named |= {f"{start}/{module}/{part.value}": t for part, t in f.tensors.items()}
        named[f"{start}/{module}/slots"] = f.slots
    return named


def unflatten_adapter(tensors: Tensors, start: str) -> dict[str, Factors]:
    """Undo ``flatten_adapter``, in the stored order."""
    modules = dict.fromkeys(
        name[len(start) + 1 : -2]
        for name in tensors
        if name.startswith(f"{start}/") and name.endswith("/a")
    )

    def named(module: str, part: Part) -> Tensor:
        return tensors[f"{start}/{module}/{part.value}"]

    return {
        m: Factors(
            named(m, Part.A),
            named(m, Part.B),
            tensors[f"{start}/{m}/slots"],
            tensors.get(f"{start}/{m}/{Part.E.value}"),
        )
        for m in modules
    }
