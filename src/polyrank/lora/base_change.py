"""What aggregation has added to the frozen base, by version, and what a client lacks of it.

The server keeps the sum of all steps as dense matrices, and the last steps as factors for as
long as these are smaller than the sum. Both sides add step after step with the same
function, so that a client that missed rounds ends with the same bits as one that did not.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor

from polyrank.errors import AdapterError
from polyrank.lora.alignment import aligned
from polyrank.lora.factors import Tensors

Step = tuple[Tensor] | tuple[Tensor, Tensor]  # the change itself, or b (d_out, n) and a (n, d_in)


@dataclass(frozen=True)
class Patch:
    """The changes that bring a client's copy of the base from one version to another.

    Args:
        since: the version that the client has.
        version: the version that it then has.
        totals: modules that are sent whole: (d_out, d_in), the sum of all steps up to ``version``.
        steps: for each version after ``since``, module -> ``b`` and ``a`` of its step.
    """

    since: int
    version: int
    totals: Tensors
    steps: tuple[Mapping[str, tuple[Tensor, Tensor]], ...] = ()

    @property
    def nbytes(self) -> int:
        """Bytes sent."""
        steps = sum(b.nbytes + a.nbytes for step in self.steps for b, a in step.values())
        return steps + sum(t.nbytes for t in self.totals.values())


@dataclass(frozen=True)
class BaseChange:
    """All that aggregation has added to the base: the total, and the latest steps one by one.

    Args:
        version: the round that made it.
        totals: module -> (d_out, d_in).
        recent: module -> its last steps, the newest last; versions are consecutive.
    """

    version: int
    totals: Tensors
    recent: Mapping[str, tuple[tuple[Tensor, Tensor], ...]] = field(default_factory=dict)

    def stepped(self, steps: Mapping[str, Step]) -> "BaseChange":
        """Return the next version; ``steps`` has every module of ``totals``."""
        totals, recent = {}, {}
        for module, step in steps.items():
            step = _stored(step, self.totals[module].dtype)
            totals[module] = added(self.totals[module], step)
            kept = (*self.recent.get(module, ()), step) if len(step) == 2 else ()
            while kept and _bytes(kept) >= totals[module].nbytes:
                kept = kept[1:]
            recent[module] = kept
        return BaseChange(self.version + 1, totals, recent)

    def patch(self, since: int) -> Patch:
        """Return what a client with version ``since`` lacks, module by module the smaller form."""
        missed = self.version - since
        whole = {m: t for m, t in self.totals.items() if len(self.recent.get(m, ())) < missed}
        steps = tuple(
            {m: kept[-back] for m, kept in self.recent.items() if m not in whole}
            for back in range(missed, 0, -1)
        )
        return Patch(since, self.version, whole, steps if len(whole) < len(self.totals) else ())

    def whole(self) -> Patch:
        """Return the patch that needs no earlier version."""
        return Patch(0, self.version, self.totals)


def no_change(shapes: Mapping[str, tuple[int, int]], dtype: torch.dtype) -> BaseChange:
    """Return version 0; ``shapes`` are (d_out, d_in) by module."""
    return BaseChange(0, {m: torch.zeros(s, dtype=dtype) for m, s in shapes.items()})


def added(total: Tensor, step: Step) -> Tensor:
    """Return the total after a step; the same bits on the server and on every client."""
    return total + step[0] if len(step) == 1 else torch.addmm(total, *map(aligned, step))


def patched(totals: Tensors, patch: Patch, version: int) -> dict[str, Tensor]:
    """Apply a patch to a client's totals, and return those of ``patch.version``.

    Args:
        totals: at ``version``; a module that is missing has changed by nothing yet.
        patch: its steps up to ``version`` are left out.
        version: from ``patch.since`` to ``patch.version``.

    Raises:
        AdapterError: the patch begins after ``version``.
    """
    if patch.steps and not patch.since <= version <= patch.version:
        raise AdapterError(
            f"expected a change of the base from version {version}, got {patch.since} to "
            f"{patch.version}"
        )
    result = dict(patch.totals)
    for step in patch.steps[version - patch.since :]:
        for module, (b, a) in step.items():
            before = result.get(module, totals.get(module))
            if before is None:
                before = torch.zeros(b.shape[0], a.shape[1], dtype=b.dtype)
            result[module] = added(before, (b, a))
    return {**totals, **result}


def _stored(step: Step, dtype: torch.dtype) -> Step:
    tensors = [t.to(dtype).contiguous() for t in step]
    return (tensors[0],) if len(tensors) == 1 else (tensors[0], tensors[1])


def _bytes(steps: tuple[tuple[Tensor, Tensor], ...]) -> int:
    return sum(b.nbytes + a.nbytes for b, a in steps)


def flatten_patch(patch: Patch) -> dict[str, Tensor]:
    """Name a patch's tensors for storing."""
    named = {f"base/total/{m}": t for m, t in patch.totals.items()}
    for place, step in enumerate(patch.steps):
        for module, (b, a) in step.items():
            named |= {f"base/step/{place}/b/{module}": b, f"base/step/{place}/a/{module}": a}
    return named


def unflatten_patch(tensors: Tensors, since: int, version: int) -> Patch:
    """Undo ``flatten_patch``.

    Raises:
        AdapterError: there are steps, and not as many as versions.
    """
    start = "base/total/"
    totals = {n.removeprefix(start): t for n, t in tensors.items() if n.startswith(start)}
    steps: dict[int, dict[str, tuple[Tensor, Tensor]]] = {}
    for name, b in tensors.items():
        if name.startswith("base/step/"):
            _, _, place, part, module = name.split("/", 4)
            if part == "b":
                pair = b, tensors[f"base/step/{place}/a/{module}"]
                steps.setdefault(int(place), {})[module] = pair
    if (steps and sorted(steps) != [*range(len(steps))]) or len(steps) not in (0, version - since):
        raise AdapterError(f"expected steps from version {since} to {version}, got {len(steps)}")
    return Patch(since, version, totals, tuple(steps[place] for place in range(len(steps))))
