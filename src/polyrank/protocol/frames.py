"""Messages over a pipe: a small JSON object, then bytes. Torch-free; nothing is unpickled."""

import json
import struct
from collections.abc import Mapping
from typing import IO, Any

from polyrank.errors import MessageError

_SIZES = struct.Struct("<QQ")
MOST_TOLD = 2**20  # bytes of the JSON object


def write_frame(pipe: IO[bytes], told: Mapping[str, Any], data: bytes = b"") -> None:
    """Write one message and flush it."""
    text = json.dumps(told).encode()
    pipe.write(_SIZES.pack(len(text), len(data)) + text)
    pipe.write(data)
    pipe.flush()


def read_frame(pipe: IO[bytes]) -> tuple[dict[str, Any], bytes] | None:
    """Read one message; None at the end of the pipe.

    Raises:
        MessageError: it ends in the middle of a message, or what comes is none.
    """
    sizes = pipe.read(_SIZES.size)
    if not sizes:
        return None
    if len(sizes) < _SIZES.size:
        raise MessageError(f"expected {_SIZES.size} bytes of sizes, got {len(sizes)}")
    told, data = _SIZES.unpack(sizes)
    if told > MOST_TOLD:
        raise MessageError(f"expected at most {MOST_TOLD} bytes of JSON, got {told}")
    text, held = pipe.read(told), pipe.read(data)
    if len(text) < told or len(held) < data:
        raise MessageError("the pipe ended in the middle of a message")
    try:
        found = json.loads(text)
    except ValueError as error:
        raise MessageError(f"expected a JSON object: {error}") from error
    if not isinstance(found, dict):
        raise MessageError(f"expected a JSON object, got {type(found).__name__}")
    return found, held
