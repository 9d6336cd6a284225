"""Messages over a pipe come back as they were, and damaged ones are named."""

import io

import pytest

from polyrank.errors import MessageError
from polyrank.protocol.frames import MOST_TOLD, read_frame, write_frame


def written(*messages: tuple[dict, bytes]) -> bytes:
    pipe = io.BytesIO()
    for told, data in messages:
        write_frame(pipe, told, data)
    return pipe.getvalue()


def test_messages_come_back_in_order_until_the_pipe_ends():
    sent = [({"kind": "task"}, b"\x00" * 70_000), ({}, b""), ({"keep": [1, 2]}, b"x")]
    pipe = io.BytesIO(written(*sent))
    assert [read_frame(pipe) for _ in sent] == sent
    assert read_frame(pipe) is None


@pytest.mark.parametrize("left", [1, 15, 20, 30])
def test_a_pipe_that_ends_in_a_message_is_named(left: int):
    whole = written(({"kind": "task"}, b"data"))
    assert left < len(whole)
    with pytest.raises(MessageError, match=r"ended in the middle|expected 16 bytes"):
        read_frame(io.BytesIO(whole[:left]))


def test_a_size_that_no_message_has_is_not_read():
    huge = (MOST_TOLD + 1).to_bytes(8, "little") + bytes(8)
    with pytest.raises(MessageError, match="at most"):
        read_frame(io.BytesIO(huge))


@pytest.mark.parametrize("text", [b"[1]", b"{", b"\xff\xfe"])
def test_what_is_no_json_object_is_named(text: bytes):
    sizes = len(text).to_bytes(8, "little") + bytes(8)
    with pytest.raises(MessageError, match="JSON object"):
        read_frame(io.BytesIO(sizes + text))
