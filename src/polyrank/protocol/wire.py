"""Messages as bytes: one safetensors block, its header a JSON object. Nothing is unpickled."""

import json
from dataclasses import asdict
from typing import Any, TypeAlias

from safetensors.torch import load, save
from torch import Tensor

from polyrank.disk.checkpoint import join_model, split_model
from polyrank.errors import MessageError
from polyrank.formats import FORMAT, VERSION, check_format
from polyrank.lora.alignment import all_aligned
from polyrank.lora.base_change import flatten_patch, unflatten_patch
from polyrank.lora.factors import Tensors
from polyrank.lora.slot_mask import packed_slots, unpacked_slots
from polyrank.protocol.counts import Confusion, Correct, CorrectTokens, Counts
from polyrank.protocol.messages import (
    Answer,
    ChangeRule,
    Counted,
    Download,
    EvaluateTask,
    ExamineTask,
    Failure,
    Measured,
    ProbeTask,
    Profile,
    ProfileTask,
    Task,
    TaskId,
    TrainTask,
    Update,
    Wanted,
)

Message: TypeAlias = Task | ExamineTask | Answer

_TYPES = {
    t.__name__: t
    for t in (
        ProfileTask,
        ProbeTask,
        TrainTask,
        EvaluateTask,
        ExamineTask,
        Profile,
        Measured,
        Update,
        Counted,
        Failure,
    )
}
_COUNTS = {t.__name__: t for t in (Correct, CorrectTokens)}

NAMED = frozenset({"features", "observed"})  # fields that are tensors by name
SCALES = "scales/"


def pack(message: Message) -> bytes:
    """Write a message; tensors as safetensors, all else as JSON in the header."""
    tensors: dict[str, Tensor] = {}
    fields: dict[str, Any] = {}
    for name in message.__dataclass_fields__:
        value = getattr(message, name)
        if isinstance(value, TaskId):
            fields[name] = asdict(value)
        elif isinstance(value, Download):
            versions = [value.base.since, value.base.version] if value.base else []
            fields[name] = {"versions": versions, "steps": dict(value.steps)}
            tensors |= join_model(value.adapter, value.extras)
            tensors |= flatten_patch(value.base) if value.base else {}
            tensors |= {SCALES + key: scale for key, scale in value.scales.items()}
        elif isinstance(value, Confusion):
            tensors["confusion"] = value.counts
        elif isinstance(value, Correct | CorrectTokens):
            fields[name] = [type(value).__name__, value.right, value.all]
        elif isinstance(value, Wanted | ChangeRule):
            fields[name] = asdict(value)
        elif name == "slots" and value is not None:
            tensors |= {f"slots/{module}": own for module, own in value.items()}
            fields[name] = list(value)
        elif name in NAMED:
            tensors |= {f"{name}/{key}": tensor for key, tensor in value.items()}
            fields[name] = list(value)
        elif name not in ("adapter", "extras", "scales"):
            fields[name] = value
    if isinstance(message, Update):
        tensors |= join_model(message.adapter, message.extras)
        tensors |= {SCALES + key: scale for key, scale in message.scales.items()}
    header = {
        "format": str(FORMAT),
        "polyrank": VERSION,
        "type": type(message).__name__,
        "fields": json.dumps(fields, default=dict),
    }
    data: bytes = save({n: _packed(n, t).contiguous() for n, t in tensors.items()}, header)
    return data


def unpack(data: bytes) -> Message:
    """Read a message from bytes; what its fields hold is checked by the guards.

    Raises:
        MessageError: the bytes are no message, or one of another format.
    """
    try:
        return _unpacked(data)
    except MessageError:
        raise
    except Exception as error:  # whatever damaged bytes can do to parsers
        raise MessageError(
            f"expected a message of polyrank, got {len(data)} bytes that cannot be read: "
            f"{type(error).__name__}: {str(error)[:200]}"
        ) from error


def _packed(name: str, tensor: Tensor) -> Tensor:
    return packed_slots(tensor) if _is_slots(name) else tensor


def _is_slots(name: str) -> bool:
    """Tell whether a tensor holds the numbers of slots, by its name in a message."""
    return name.startswith("slots/") or (name.startswith("adapter/") and name.endswith("/slots"))


def _unpacked(data: bytes) -> Message:
    size = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + size])["__metadata__"]
    known = header.get("format")
    found = int(known) if known is not None else None
    check_format(found, "message", MessageError, header.get("polyrank"))
    fields: dict[str, Any] = json.loads(header["fields"])
    tensors = all_aligned(
        {n: unpacked_slots(t) if _is_slots(n) else t for n, t in load(data).items()}
    )
    fields["id"] = TaskId(**fields["id"])
    scales = {n.removeprefix(SCALES): t for n, t in tensors.items() if n.startswith(SCALES)}
    if fields.get("download") is not None:
        versions, steps = fields["download"]["versions"], fields["download"]["steps"]
        patch = unflatten_patch(tensors, *versions) if versions else None
        fields["download"] = Download(*split_model(tensors), patch, scales, steps)
    if fields.get("slots") is not None:
        fields["slots"] = {module: tensors[f"slots/{module}"] for module in fields["slots"]}
    for name in NAMED & fields.keys():
        fields[name] = {key: tensors[f"{name}/{key}"] for key in fields[name]}
    if header["type"] == "Update":
        fields["adapter"], fields["extras"] = split_model(tensors)
        fields["scales"] = scales
    if "wanted" in fields:
        wanted = fields["wanted"]
        lists = {name: tuple(wanted[name]) for name in ("criteria", "columns")}
        fields["wanted"] = Wanted(**{**wanted, **lists})
    if fields.get("change") is not None:
        fields["change"] = ChangeRule(**fields["change"])
    if header["type"] == "Counted":
        fields["counts"] = _counts(fields.get("counts"), tensors)
    message: Message = _TYPES[header["type"]](**fields)
    return message


def _counts(told: list[Any] | None, tensors: Tensors) -> Counts:
    if told is None:
        return Confusion(tensors["confusion"])
    kind, right, whole = told
    return _COUNTS[kind](right, whole)
