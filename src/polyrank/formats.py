"""The format of what PolyRank writes, and by which versions it was written. Torch-free."""

from collections.abc import Mapping
from functools import cache

from polyrank.errors import PolyRankError

VERSION = "0.1.0"
FORMAT = 1  # of run folders and messages; a new one where an old reader would misread them


@cache
def versions() -> Mapping[str, str]:
    """Return the versions on which the bits of a run depend: of PolyRank and of torch."""
    from importlib.metadata import PackageNotFoundError, version

    try:
        torch = version("torch")
    except PackageNotFoundError:  # a build of one's own that left no metadata
        torch = "unknown"
    return {"polyrank": VERSION, "torch": torch}


def check_format(
    found: object, where: object, error: type[PolyRankError], writer: object = None
) -> None:
    """Check that something was written in the format that is read here.

    Args:
        found: its format; None of what was written before there were formats.
        where: what it is, for the message.
        error: what is raised.
        writer: the version of PolyRank that wrote it, where that is known.

    Raises:
        PolyRankError: of the kind ``error``: it is another format.
    """
    if type(found) is int and found == FORMAT:
        return
    came = "none" if found is None else str(found)[:40]
    by = f"polyrank {str(writer)[:40]}" if writer is not None else "another version of polyrank"
    raise error(f"{where}: expected format {FORMAT}, got {came}: written by {by}")


def version_warning(wrote: Mapping[str, object]) -> str | None:
    """Return what to say where other versions wrote something than those that go on with it."""
    here = versions()
    if all(wrote.get(name) == number for name, number in here.items()):
        return None
    then = ", ".join(f"{name} {str(wrote.get(name))[:40]}" for name in here)
    now = ", ".join(f"{name} {number}" for name, number in here.items())
    return f"written by {then}, gone on with by {now}: from here on the bits may differ"
