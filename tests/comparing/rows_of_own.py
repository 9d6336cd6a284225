"""Data for runs that shall fail, or be interrupted while they load."""

import os
import time
from pathlib import Path
from typing import Any

from tests.small import tiny_digits


def broken(argument: str) -> Any:
    """Fail as a loader of one's own may."""
    raise RuntimeError("the disk is gone")


def slow(argument: str) -> Any:
    """Wait for long if $MARK names a file that is not there; it then holds the process's id."""
    mark = os.environ.get("MARK")
    if mark and not Path(mark).exists():
        Path(mark).write_text(str(os.getpid()))
        time.sleep(600)
    return tiny_digits(argument)
