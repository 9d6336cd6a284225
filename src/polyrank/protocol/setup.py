"""What a client's process is told of a run before its first task, as bytes."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from safetensors.torch import load, save

from polyrank.disk.checkpoint import join_model, split_model
from polyrank.errors import MessageError
from polyrank.formats import FORMAT, VERSION, check_format
from polyrank.lora.alignment import all_aligned
from polyrank.lora.factors import Adapter, Tensors

_BASE = "base/"


@dataclass(frozen=True)
class Setup:
    """A run as its clients must know it.

    Args:
        run: the run's own name, which no other has; clients keep their files under it.
        settings: of the run, as a settings file holds them.
        about: what the file of the base says beside its tensors.
        base: the frozen base, or of a public model only what is new.
        start: the adapter that the run began with, if it did not begin with new factors.
    """

    run: str
    settings: Mapping[str, Any]
    about: Mapping[str, Any]
    base: Tensors
    start: Adapter | None = None

    def pack(self) -> bytes:
        """Write it as one block of safetensors, all else as JSON in the header."""
        told = {"run": self.run, "settings": self.settings, "about": self.about}
        tensors = {f"{_BASE}{name}": tensor.contiguous() for name, tensor in self.base.items()}
        tensors |= join_model(self.start, {}) if self.start else {}
        header = {"format": str(FORMAT), "polyrank": VERSION, "told": json.dumps(told)}
        packed: bytes = save(tensors, header)
        return packed

    @classmethod
    def unpack(cls, data: bytes) -> "Setup":
        """Read what ``pack`` wrote.

        Raises:
            MessageError: it is none, or of another format.
        """
        try:
            size = int.from_bytes(data[:8], "little")
            header = json.loads(data[8 : 8 + size])["__metadata__"]
            known = header.get("format")
            found = int(known) if known is not None else None
            check_format(found, "setup", MessageError, header.get("polyrank"))
            tensors = all_aligned(load(data))
            base = {n.removeprefix(_BASE): t for n, t in tensors.items() if n.startswith(_BASE)}
            start = split_model(tensors)[0] or None
            return cls(**json.loads(header["told"]), base=base, start=start)
        except MessageError:
            raise
        except Exception as error:  # whatever damaged bytes can do to parsers
            raise MessageError(
                f"expected the setup of a run, got {len(data)} bytes that cannot be read: "
                f"{type(error).__name__}: {str(error)[:200]}"
            ) from error
