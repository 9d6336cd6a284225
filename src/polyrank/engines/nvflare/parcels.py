"""What server and sites hand to NVFlare: a small JSON object as text, and bytes; nothing else.

NVFlare's own serialisation (FOBS) then meets no object of PolyRank or torch, for which it would
need decomposers.
"""

import json
from collections.abc import Mapping
from typing import Any

from nvflare.apis.shareable import Shareable

from polyrank.errors import MessageError
from polyrank.protocol.frames import MOST_TOLD

TASK = "polyrank"  # the one kind of task that jobs have
AGREEMENT = "agreement.json"  # in a site's local folder
PLACE = "place.json"  # in the server's local folder: where runs are kept
REQUEST = "request.json"  # in the server's part of a job


def parcel(told: Mapping[str, Any], data: bytes = b"") -> Shareable:
    """Wrap a message and its bytes."""
    wrapped = Shareable()
    wrapped["told"] = json.dumps(told)
    wrapped["data"] = data
    return wrapped


def read_parcel(wrapped: Mapping[str, Any]) -> tuple[dict[str, Any], bytes]:
    """Unwrap a message.

    Raises:
        MessageError: it holds something else than a message with its kind, and bytes.
    """
    text, data = wrapped.get("told"), wrapped.get("data")
    if not isinstance(text, str) or not isinstance(data, bytes | bytearray | memoryview):
        raise MessageError(
            f"expected text and bytes, got {type(text).__name__} and {type(data).__name__}"
        )
    if len(text) > MOST_TOLD:
        raise MessageError(f"expected at most {MOST_TOLD} characters of JSON, got {len(text)}")
    try:
        told = json.loads(text)
    except ValueError as error:
        raise MessageError(f"expected a JSON object: {error}") from error
    if not isinstance(told, dict) or not isinstance(told.get("kind"), str):
        raise MessageError("expected a JSON object with its kind")
    return told, bytes(data)
