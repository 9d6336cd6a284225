"""Run cells, each in a process of its own, so many at a time; one that fails stops no other.

Such a process ends with this one, however this one ends: it waits for the end of a pipe.
"""

import json
import os
import signal
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from pathlib import Path

from polyrank.comparing.cells import Cell
from polyrank.datasets import Data
from polyrank.engines.start import fork_context
from polyrank.settings.schema import Settings

NEEDED = ("polyrank.runs.simulation", "sklearn.datasets")  # by every run, and by many


@dataclass(frozen=True)
class Ended:
    """A cell that has been run.

    Args:
        cell: which.
        error: why it failed; None if it came to its end.
        seconds: from the start of its process to the end.
    """

    cell: Cell
    error: str | None
    seconds: float


@dataclass(frozen=True, eq=False)
class _Begun:
    cell: Cell
    process: BaseProcess
    pipe: Connection
    since: float


def run_cells(cells: Sequence[Cell], jobs: int, given: Data | None = None) -> Iterator[Ended]:
    """Run cells and yield each as it ends; what was begun earlier and not finished is done anew.

    Whoever stops asking, or is interrupted, leaves no process running.

    Args:
        cells: in the order in which they begin.
        jobs: how many run at a time.
        given: data in place of those that the settings name.
    """
    left, begun = list(cells), list[_Begun]()
    try:
        while left or begun:
            while left and len(begun) < jobs:
                begun.append(_begin(left.pop(0), given))
            speaking = wait([one.pipe for one in begun])
            for one in [one for one in begun if one.pipe in speaking]:
                begun.remove(one)
                yield _end(one)
    finally:
        for one in begun:
            one.process.kill()
        for one in begun:
            one.process.join()
            one.pipe.close()


def _begin(cell: Cell, given: Data | None) -> _Begun:
    context = fork_context(*NEEDED)
    here, there = context.Pipe()
    process = context.Process(target=_work, args=(there, cell.settings, cell.folder, given))
    process.start()
    there.close()
    return _Begun(cell, process, here, time.monotonic())


def _end(one: _Begun) -> Ended:
    """Take what a process says at its end; one that says nothing has died."""
    said = None
    with suppress(EOFError, ConnectionError):
        said = one.pipe.recv_bytes()
    one.pipe.close()
    one.process.join()
    if said is None:
        error = f"the process died (exit code {one.process.exitcode})"
    else:
        error = json.loads(said)
    return Ended(one.cell, error, time.monotonic() - one.since)


def _work(pipe: Connection, settings: Settings, folder: Path, given: Data | None) -> None:
    """Run one cell in this process, and say why it failed, or null."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the process that started this one ends it
    threading.Thread(target=_end_with, args=(pipe,), daemon=True).start()
    import torch

    from polyrank import api
    from polyrank.causes import told
    from polyrank.console.progress import Silent

    torch.set_num_threads(1)
    error = None
    try:
        api.run(settings, data=given, out=folder, overwrite=True, watcher=Silent())
    except Exception as failure:
        error = told(failure)
    pipe.send_bytes(json.dumps(error).encode())


def _end_with(pipe: Connection) -> None:
    """End this process at once when the one that started it is gone."""
    with suppress(EOFError, ConnectionError, OSError):
        pipe.recv_bytes()
    os._exit(1)
