"""Describe an error in one line, with its place if a function of the user's own raised it."""

import sysconfig
import traceback
from pathlib import Path

from polyrank.errors import PolyRankError


def told(error: BaseException) -> str:
    """Return kind and text of an error, with the place of a function of one's own that raised.

    Example:
        >>> told(KeyError("label"))
        "KeyError: 'label'"
    """
    text = f"{type(error).__name__}: {error}".rstrip(": ")
    place = None if isinstance(error, PolyRankError) else own_place(error)
    return f"{text} ({place})" if place else text


def own_place(error: BaseException) -> str | None:
    """Return file and line of the innermost call outside this package and all installed ones."""
    if isinstance(error, SyntaxError) and error.filename:  # of an import
        return f"{error.filename}, line {error.lineno}"
    frames = traceback.extract_tb(error.__traceback__)
    own = [f for f in frames if not f.filename.startswith(_installed())]
    return f"{own[-1].filename}, line {own[-1].lineno}, in {own[-1].name}" if own else None


def _installed() -> tuple[str, ...]:
    """Where this package, others and Python's own modules are; ``<`` begins what is in no file."""
    paths = sysconfig.get_paths()
    kinds = ("stdlib", "platstdlib", "purelib", "platlib")
    return (f"{Path(__file__).parent}/", *(f"{paths[kind]}/" for kind in kinds), "<")
