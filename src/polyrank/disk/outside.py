"""Files that somebody else may have written: read without trusting their size or form."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from polyrank.errors import PolyRankError, RunFolderError


def parse_json(text: str | bytes) -> Any:  # noqa: ANN401 - whatever JSON holds
    """Read JSON; also what is nested too deeply is a ValueError.

    Raises:
        ValueError: not JSON.
    """
    try:
        return json.loads(text)
    except RecursionError as error:
        raise ValueError("nested too deeply") from error


def read_object(
    path: Path, error: type[PolyRankError], expected: str, most: int = 2**16
) -> dict[str, Any]:
    """Read a small file that holds one JSON object.

    Args:
        path: a link to a file is followed, a device or a pipe is not read.
        error: what is raised.
        expected: what the file is, for the message.
        most: bytes.

    Raises:
        PolyRankError: of the kind ``error``: there is none, it is too large, or no JSON object.
    """
    if not path.is_file():
        raise error(f"{path.parent}: expected {expected}, found none")
    try:
        with path.open("rb") as file:
            data = file.read(most + 1)
        if len(data) > most:
            raise error(f"{path}: expected at most {most} bytes, got more")
        found = parse_json(data)
    except (OSError, ValueError) as cause:
        raise error(f"{path}: expected a JSON object: {cause}") from cause
    if not isinstance(found, dict):
        raise error(f"{path}: expected a JSON object, got {type(found).__name__}")
    return found


@contextmanager
def as_written(path: Path) -> Iterator[None]:
    """Raise errors about unexpected contents as one that names the file or folder.

    Raises:
        RunFolderError: something was missing in what was read, or of another type.
    """
    try:
        yield
    except _OTHER_FORM as error:
        raise RunFolderError(
            f"{path}: damaged, or not written by PolyRank: {type(error).__name__}: {error}"
        ) from error


_OTHER_FORM = (LookupError, TypeError, ValueError, AttributeError, ArithmeticError, RuntimeError)
