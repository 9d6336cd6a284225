"""Find out in seconds, without retries, whether the Hugging Face hub can be reached."""

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import getproxies

SECONDS = 5.0  # for an answer from one address of the hub


@contextmanager
def offline_where_it_cannot_be_reached(name: str) -> Iterator[bool]:
    """Let the hub's library look in its cache alone where the hub cannot be reached.

    It would try again and again, for half a minute and more. Nothing is asked for where
    ``name`` is a folder.

    Yields:
        Whether ``name`` was looked for in the cache alone.
    """
    from huggingface_hub import constants

    if Path(name).expanduser().is_dir() or _answers(constants.ENDPOINT):
        yield False
        return
    before = constants.HF_HUB_OFFLINE
    constants.HF_HUB_OFFLINE = True  # read at every request; transformers asks there, too
    try:
        yield True
    finally:
        constants.HF_HUB_OFFLINE = before


def can_be_reached() -> bool:
    """Tell whether the hub answers."""
    from huggingface_hub import constants

    return _answers(constants.ENDPOINT)


def _answers(address: str) -> bool:
    """Return whether the hub answers; behind a proxy that is left to the hub's library."""
    url = urlsplit(address)
    if url.hostname is None or {url.scheme, "all"} & getproxies().keys():
        return True
    port = url.port or (443 if url.scheme == "https" else 80)
    try:
        socket.create_connection((url.hostname, port), timeout=SECONDS).close()
    except OSError:
        return False
    return True
