"""Check a client's answer before it may touch the global model.

A client is not trusted: types, names, shapes and sizes are looked at before any number is used,
and whatever comes, the answer is a reason in plain words, never an exception.
"""

import math
from collections.abc import Container, Iterable, Mapping, Sequence
from itertools import pairwise
from types import MappingProxyType
from typing import TypeGuard

import torch
from torch import Tensor

from polyrank.lora.factors import Adapter, Factors, Tensors
from polyrank.lora.int8 import extra_name, factor_name, packed_parts
from polyrank.models.input_scaling import is_scaling
from polyrank.protocol.counts import Confusion, Correct, CorrectTokens
from polyrank.protocol.messages import (
    Counted,
    Measured,
    ProbeTask,
    Profile,
    TaskId,
    TrainTask,
    Update,
    Wanted,
)

NONE: Mapping[str, Container[int]] = MappingProxyType({})
COUNTS = ("Confusion", "Correct", "CorrectTokens")
LARGEST = 1e100  # of a measured number: squares and their sums over clients stay finite
ROUNDING = 1e-9  # of ratios that should fall and sum to 1 at most


def refusal(
    update: Update,
    task: TrainTask,
    expected: Adapter,
    most: float,
    cut: Mapping[str, Container[int]] = NONE,
    *,
    observes: bool = False,
) -> str | None:
    """Return why an update is refused, in plain words, or None if it is good.

    Args:
        update: what came back.
        task: what was sent; the update must have its extras' names, shapes and types.
        expected: has the names, shapes, types and slots that the update's adapter must have.
        most: how many training examples the client has said that it holds.
        cut: module -> the smaller numbers of slots to which its client may have cut it.
        observes: whether it must hold a number for each slot of each module.
    """
    if update.id != task.id:
        return f"answers {_short(update.id)}, expected {task.id}"
    if not _is_number(update.examples) or not 0 < update.examples <= most:
        return f"{_short(update.examples)} examples: expected a number above 0, at most {most:g}"
    if not _is_number(update.loss):
        return f"loss {_short(update.loss)}: expected a number"
    small = task.compression == "int8"
    return (
        _cost_refusal(update)
        or _adapter_refusal(update.adapter, expected, cut, small=small)
        or _extras_refusal(update.extras, task.download.extras)
        or _observed_refusal(update.observed, expected if observes else {})
        or _shares_refusal(update.shares, expected if task.change else {})
        or _scales_refusal(update.scales, _scales_like(update, task, expected) if small else {})
    )


def probe_refusal(
    measured: Measured, task: ProbeTask, modules: Iterable[str], head: Tensor | None
) -> str | None:
    """Return why what a client has measured cannot be used, or None if it can.

    Args:
        measured: what came back.
        task: what it was asked for.
        modules: the adapted ones.
        head: the weight (classes, d) whose inputs were to be summed up, if they were.
    """
    if measured.id != task.id:
        return f"answers {_short(measured.id)}, expected {task.id}"
    wanted = task.wanted
    return (
        _cost_refusal(measured)
        or _criteria_refusal(measured.criteria, () if wanted.head else wanted.criteria)
        or _spectra_refusal(measured.spectra, [*modules] if wanted.ratios else [])
        or _sums_refusal(measured.features, wanted, head)
    )


def profile_refusal(profile: Profile, id: TaskId, classes: int) -> str | None:
    """Return why what a client tells of itself cannot be used, or None if it can.

    Args:
        profile: what came back.
        id: of the task.
        classes: number of labels.
    """
    if profile.id != id:
        return f"answers {_short(profile.id)}, expected {id}"
    for name, least in (("examples", 1), ("test_examples", 0), ("cap", 1)):
        value = getattr(profile, name)
        if value is not None and not (type(value) is int and least <= value < 2**53):
            return f"{_short(value)} {name}: expected a whole number from {least} up"
    counts = profile.label_counts
    if counts is None:
        return None
    good = isinstance(counts, list | tuple) and len(counts) == classes
    if not good or not all(type(n) is int and 0 <= n < 2**53 for n in counts):
        return f"label counts {_short(counts)}: expected {classes} whole numbers from 0 up"
    return None


def count_refusal(counted: Counted, id: TaskId, rows: int, cuts: int = 0) -> str | None:
    """Return why counted answers cannot be used, or None if they can.

    Args:
        counted: what came back.
        id: of the task.
        rows: how many rows were to be answered.
        cuts: of how many cut models the losses were asked for.
    """
    if counted.id != id:
        return f"answers {_short(counted.id)}, expected {id}"
    if not _is_number(counted.loss):
        return f"loss {_short(counted.loss)}: expected a number"
    counts = counted.counts
    if type(counts) is Confusion:
        reason = _confusion_refusal(counts.counts)
        if reason:
            return reason
        counts = counts.correct
    if not isinstance(counts, Correct | CorrectTokens):
        return f"counts {_short(type(counts))}: expected {', '.join(COUNTS)}"
    right, told = counts.right, counts.all
    if not (type(right) is type(told) is int and 0 <= right <= told and 0 < told < 2**53):
        return f"{_short(right)} right of {_short(told)}: expected whole numbers, not 0 of 0"
    if type(counts) is Correct and told != rows:
        return f"{right} right of {told} answers: expected {rows} rows"
    return _losses_refusal([counted.loss], counted.losses, cuts)


def _losses_refusal(whole: Sequence[float], came: object, cuts: int) -> str | None:
    if not isinstance(came, list | tuple) or len(came) != cuts:
        return f"losses of cut models {_short(came)}: expected {cuts} numbers"
    for loss in (*whole, *came) if cuts else ():
        if not _is_number(loss) or not 0 <= loss < math.inf:
            return f"loss {_short(loss)} of a cut model: expected a finite number from 0 up"
    return None


def _confusion_refusal(came: object) -> str | None:
    reason = _plainness(came)
    if reason or not isinstance(came, Tensor) or came.dtype != torch.int64:
        return f"counts: {reason or _short(getattr(came, 'dtype', came))}: expected int64"
    square = came.dim() == 2 and came.shape[0] == came.shape[1]
    if not square or (came < 0).any():
        return f"counts {tuple(came.shape)}: expected (classes, classes) from 0 up"
    return None


def _cost_refusal(answer: Update | Measured) -> str | None:
    if type(answer.steps) is not int or not 0 <= answer.steps < 2**53:
        return f"{_short(answer.steps)} steps: expected a whole number from 0 up"
    if not _is_number(answer.seconds) or not 0 <= answer.seconds < math.inf:
        return f"{_short(answer.seconds)} seconds: expected a finite number from 0 up"
    return None


def _adapter_refusal(
    came: object, expected: Adapter, cut: Mapping[str, Container[int]], *, small: bool
) -> str | None:
    if not isinstance(came, Mapping) or came.keys() != expected.keys():
        return f"modules {_names(came)}, expected {sorted(expected)}"
    for module, like in expected.items():
        reason = _factors_refusal(came[module], like, cut.get(module, ()), small=small)
        if reason:
            return f"module {module!r}{reason}"
    return None


def _factors_refusal(
    came: object, like: Factors, cut: Container[int], *, small: bool
) -> str | None:
    if type(came) is not Factors:
        return f": {_short(type(came))}, expected factors"
    reason = _plainness(came.slots)
    if reason or came.slots.dtype != torch.int64 or came.slots.dim() != 1:
        return f": slots: {reason or came.slots.dtype}: expected (r,) int64"
    if came.rank in cut:
        like = like.sized(like.slots[: came.rank])
    if not torch.equal(came.slots, like.slots):
        return f": slots {_short(came.slots.tolist())} are not the client's"
    if came.parametrisation != like.parametrisation:
        return f": factors in form {came.parametrisation!r}, expected {like.parametrisation!r}"
    packed = packed_parts(like) if small else ()
    for part, expected in like.tensors.items():
        if part in packed:
            expected = torch.empty(expected.shape, dtype=torch.int8, device="meta")
        reason = _tensor_refusal(came.tensors[part], expected)
        if reason:
            return f", factor {part.value}: {reason}"
    return None


def _scales_like(update: Update, task: TrainTask, expected: Adapter) -> dict[str, Tensor]:
    """Return scales of the names, shapes and types that good factors and extras must have."""
    given = task.download.scales
    likes = {n: given[n] for n in map(extra_name, update.extras) if n in given}
    for module, like in expected.items():
        rank = update.adapter[module].rank
        for part in packed_parts(like):
            dtype = like.tensors[part].dtype
            likes[factor_name(module, part)] = torch.empty(rank, dtype=dtype, device="meta")
    return likes


def _scales_refusal(came: object, likes: Tensors) -> str | None:
    if not isinstance(came, Mapping) or came.keys() != likes.keys():
        return f"scales of {_names(came)}, expected {sorted(likes)}"
    for name, like in likes.items():
        reason = _tensor_refusal(came[name], like)
        if reason:
            return f"scales of {name!r}: {reason}"
        if (came[name] < 0).any() or not torch.isfinite(came[name] * 128).all():
            return f"scales of {name!r}: expected numbers from 0 up that times 128 are finite"
    return None


def _extras_refusal(came: object, sent: Tensors) -> str | None:
    if not isinstance(came, Mapping) or came.keys() != sent.keys():
        return f"extras {_names(came)}, expected {sorted(sent)}"
    for name, expected in sent.items():
        reason = _tensor_refusal(came[name], expected)
        if reason:
            return f"extra {name!r}: {reason}"
        if is_scaling(name) and not torch.equal(came[name], expected):
            return f"extra {name!r}: expected what was sent, got other numbers"
    return None


def _observed_refusal(came: object, expected: Adapter) -> str | None:
    if not isinstance(came, Mapping) or came.keys() != expected.keys():
        return f"observed modules {_names(came)}, expected {sorted(expected)}"
    for module, factors in expected.items():
        like = torch.empty(factors.rank, dtype=torch.float32, device="meta")
        reason = _tensor_refusal(came[module], like)
        if reason:
            return f"observed of module {module!r}: {reason}"
    return None


def _shares_refusal(came: object, expected: Adapter) -> str | None:
    if not isinstance(came, Mapping) or came.keys() != expected.keys():
        return f"shares of modules {_names(came)}, expected {sorted(expected)}"
    for module, share in came.items():
        if not _is_number(share) or not 0 <= share <= 1:
            return f"share of module {module!r} is {_short(share)}: expected a number from 0 to 1"
    return None


def _tensor_refusal(came: object, expected: Tensor) -> str | None:
    reason = _plainness(came)
    if reason or not isinstance(came, Tensor):
        return reason
    if came.shape != expected.shape or came.dtype != expected.dtype:
        return (
            f"shape {tuple(came.shape)} of {came.dtype}, "
            f"expected {tuple(expected.shape)} of {expected.dtype}"
        )
    if came.is_floating_point() and not torch.isfinite(came).all():
        bad = int((~torch.isfinite(came)).sum())
        return f"{bad} of {came.numel()} numbers are NaN or infinite"
    return None


def _plainness(came: object) -> str | None:
    """Return why a value is no plain CPU tensor, or None if it is one."""
    if type(came) is not Tensor:
        return f"{_short(type(came))}, expected a plain tensor"
    if came.layout is not torch.strided or came.device.type != "cpu" or came.is_quantized:
        return f"{came.layout} on {came.device.type}, expected numbers one after the other on cpu"
    return "requires a gradient, expected numbers alone" if came.requires_grad else None


def _criteria_refusal(came: object, wanted: Iterable[str]) -> str | None:
    if not isinstance(came, Mapping) or came.keys() != set(wanted):
        return f"criteria {_names(came)}, expected {sorted(wanted)}"
    for name, value in came.items():
        if not _is_number(value) or not -LARGEST < value < LARGEST:
            return f"criterion {name!r} is {_short(value)}: expected a finite number"
    return None


def _spectra_refusal(came: object, modules: list[str]) -> str | None:
    if not isinstance(came, Mapping) or came.keys() != set(modules):
        return f"spectra of {_names(came)}, expected {sorted(modules)}"
    for module, given in came.items():
        if not isinstance(given, list | tuple) or not _falls(given):
            return f"spectrum of {module!r}: expected falling ratios that sum to 1 at most"
    return None


def _falls(ratios: Sequence[object]) -> bool:
    numbers = [x for x in ratios if _is_number(x) and 0 <= x <= 1]
    falls = all(x + ROUNDING >= y for x, y in pairwise(numbers))
    return falls and len(numbers) == len(ratios) and sum(numbers) <= 1 + ROUNDING


def _sums_refusal(came: object, wanted: Wanted, head: Tensor | None) -> str | None:
    if wanted.columns:
        return _column_sums_refusal(came, len(wanted.columns))
    return _features_refusal(came, head, products=wanted.products)


def _column_sums_refusal(came: object, columns: int) -> str | None:
    kinds = {"counts": torch.int64, "sums": torch.float64, "squares": torch.float64}
    if not isinstance(came, Mapping) or came.keys() != kinds.keys():
        return f"sums {_names(came)}, expected {sorted(kinds)}"
    for name, dtype in kinds.items():
        like = torch.empty(columns, dtype=dtype, device="meta")
        reason = _tensor_refusal(came[name], like)
        if reason or (came[name].double().abs() > LARGEST).any():
            return f"{name}: {reason or 'expected finite numbers'}"
    counts, sums, squares = (came[name].double() for name in kinds)
    if (counts < 0).any() or (counts >= 2**53).any() or (squares < 0).any():
        return "counts and squares of columns: expected numbers from 0 up"
    if (sums.square() > counts * squares * (1 + ROUNDING)).any():
        return "sums of columns: larger than their squares allow"
    return None


def _features_refusal(came: object, head: Tensor | None, *, products: bool) -> str | None:
    if not isinstance(came, Mapping):
        return f"sums {_names(came)}, expected tensors by name"
    shapes: dict[str, tuple[int, ...]] = {}
    if head is not None:
        (classes, d), counts = head.shape, came.get("counts")
        reason = _tensor_refusal(counts, torch.empty(classes, dtype=torch.int64, device="meta"))
        if reason or not isinstance(counts, Tensor):
            return f"counts of labels: {reason}"
        if (counts < 0).any() or not 0 < float(counts.double().sum()) < 2**53:
            return f"counts {_short(counts.tolist())}: expected numbers from 0 up, not all 0"
        shapes = {"counts": (classes,), "sums": (int((counts > 0).sum()), d)}
        shapes |= {"products": (d * (d + 1) // 2,)} if products else {}
    if came.keys() != shapes.keys():
        return f"sums {_names(came)}, expected {sorted(shapes)}"
    for name in shapes.keys() - {"counts"}:
        like = torch.empty(shapes[name], dtype=torch.float64, device="meta")
        reason = _tensor_refusal(came[name], like)
        if reason or (came[name].abs() > LARGEST).any():
            return f"{name}: {reason or 'expected finite numbers'}"
    return None


def _is_number(value: object) -> TypeGuard[float]:
    """Tell whether a value is a number that fits a float; booleans do not count."""
    return isinstance(value, float) or (type(value) is int and abs(value) < 2**63)


def _names(came: object) -> str:
    return _short(sorted(map(str, came)) if isinstance(came, Mapping) else type(came))


def _short(value: object) -> str:
    """Show a value in less than 80 characters: of a longer text, both ends."""
    text = repr(value)
    return text if len(text) < 80 else f"{text[:50]} .. {text[-20:]}"
