"""Check the names of clients, and turn them into file names."""

from urllib.parse import quote

MOST = 200  # of the 255 bytes that a file name may have; a round and an ending are added
_ALWAYS_FITS = MOST // 12  # a character has up to four bytes, each of which may become "%FF"


def as_file_name(client: str) -> str:
    """Return a client's name as a part of a file's name; no two clients have the same.

    >>> as_file_name("Zürich/3")
    'Z%C3%BCrich%2F3'
    """
    return quote(client, safe="")


def fault_of_name(client: str) -> str | None:
    """Return what is wrong with a client's name, in words, or None."""
    if not client.strip():
        return "expected a client's name, got an empty one"
    try:
        size = 0 if len(client) <= _ALWAYS_FITS else len(as_file_name(client))
        client.encode()
    except UnicodeEncodeError:
        return f"expected a client's name in Unicode, got {_short(client)}"
    if size > MOST:
        return (
            f"expected a client's name of at most {MOST} bytes, written as in a web address, for "
            f"files are named after it; got {size}: {_short(client)}"
        )
    return None


def _short(name: str) -> str:
    return repr(name) if len(name) <= 40 else f"{name[:40]!r}..."
