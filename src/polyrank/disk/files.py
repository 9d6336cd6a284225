"""Write files atomically, and lock them."""

import os
from pathlib import Path
from typing import IO

from polyrank.errors import RunFolderError


def write_whole(path: Path, data: bytes) -> None:
    """Write a file atomically: after a crash or power cut the new file is complete or absent.

    Raises:
        RunFolderError: the disk is full or the folder cannot be written.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with temporary.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
        sync_folder(path.parent)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise RunFolderError(f"{path}: cannot be written: {error.strerror}") from error


def sync_folder(folder: Path) -> None:
    """Make renames in a folder survive a power cut, where the system can."""
    if os.name == "posix":
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def lock(file: IO[str]) -> None:
    """Lock an open file until it is closed or the process ends, where the system can.

    Raises:
        OSError: another process holds the lock.
    """
    if os.name == "posix":
        import fcntl

        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
