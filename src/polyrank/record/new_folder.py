"""Make the folder of a new run: locked, and removed again if nothing was saved.

A run that was killed before its first state was saved leaves its lock behind, and nothing that
a run could not make again. Such a folder may be used as if it were empty.
"""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from polyrank.errors import RunFolderError
from polyrank.record.run_folder import LOCK, RECORDS, RunFolder
from polyrank.settings.schema import Settings

BEFORE_A_STATE = frozenset(
    {LOCK, "config.toml", "checkpoint", "trackers", "timings.jsonl", "federation"}
    | {f"{kind}.jsonl" for kind in RECORDS}
)


OF_A_RUN = BEFORE_A_STATE | {"summary.json", "report.html"}


@contextmanager
def new_folder(path: Path, settings: Settings, *, overwrite: bool = False) -> Iterator[RunFolder]:
    """Make a new run folder with the resolved settings in it, and lock it.

    After an error before the first state, whatever was made is removed.

    Args:
        path: of the folder.
        settings: of the run.
        overwrite: remove a run that is there, if nothing else is.

    Raises:
        RunFolderError: there is already something, another process is at work there, or the
            folder cannot be made.
    """
    _check_free(path, overwrite)
    made = [folder for folder in (path, *path.parents) if not folder.exists()]
    folder = RunFolder(path)
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise RunFolderError(
            f"{path}: expected a folder that can be made, got: {error.strerror}"
        ) from error
    with folder.locked():
        _check_free(path, overwrite)  # another process may have worked here just now
        _clear(path)
        try:
            folder.clients.mkdir(parents=True)
            folder.write_settings(settings)
            yield folder
        except Exception:
            if folder.last_state() is None and folder.elsewhere is None:
                _clear(path)
                (path / LOCK).unlink(missing_ok=True)
                with suppress(OSError):  # something else was put there
                    for empty in made:
                        empty.rmdir()
            raise


def _check_free(path: Path, overwrite: bool) -> None:
    if not path.exists() or (path.is_dir() and (_is_empty(path) or _is_left_over(path))):
        return
    if not path.is_dir():
        raise RunFolderError(f"{path}: expected a folder, new or empty, got a file")
    there = _names(path)
    is_run = {LOCK, "config.toml"} <= there
    if overwrite and is_run and there <= OF_A_RUN:
        return
    if overwrite:
        other = sorted(there - OF_A_RUN)[:3] if is_run else "no run"
        raise RunFolderError(f"{path}: expected a run and nothing else to overwrite, got {other}")
    raise RunFolderError(
        f"{path}: expected a folder, new or empty, got one with something in it; "
        "choose another, or resume the run that is there"
    )


def _is_empty(path: Path) -> bool:
    return not any(path.iterdir())


def _is_left_over(path: Path) -> bool:
    """Whether a run began here, nobody has put anything beside it, and no state was saved."""
    names = _names(path)
    return LOCK in names and names <= BEFORE_A_STATE and RunFolder(path).last_state() is None


def _names(path: Path) -> set[str]:
    """Return the names of what is in a folder, but for what an interrupted write left."""
    return {p.name for p in path.iterdir() if not (p.name[0] == "." and p.suffix == ".tmp")}


def _clear(path: Path) -> None:
    """Remove all but the lock."""
    for found in path.iterdir():
        if found.is_dir() and not found.is_symlink():
            shutil.rmtree(found)
        elif found.name != LOCK:
            found.unlink()
