"""A process that has imported what trainers need, and from which they start at once. Torch-free.

It listens on a socket in a folder that only its owner can enter. Whoever connects hands over a
file of the client's ``Agreement`` and three pipes, and gets a trainer that reads and writes there:
a copy of the process (``os.fork``), so that nothing is imported again. The connection stays open
as long as the trainer is wanted: when it is closed, on whatever ground, the trainer is killed.
"""

import os
import socket
import struct
import subprocess
import sys
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import IO

CODE = struct.Struct("<q")  # the exit code of a trainer that has ended
MODULE = "polyrank.runs.warm_process"
ENDING = 5.0  # seconds that the process has to end by itself


class WarmStart:
    """The process, which ends with the one that has started it."""

    def __init__(self) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="polyrank-")
        self.path = str(Path(self._folder.name) / "trainers")
        with socket.socket(socket.AF_UNIX) as listening:
            listening.bind(self.path)
            listening.listen()
            number = listening.fileno()
            self.process = subprocess.Popen(
                [sys.executable, "-m", MODULE, str(number)],
                stdin=subprocess.PIPE,
                pass_fds=[number],
                start_new_session=True,
            )

    def close(self) -> None:
        """End the process; trainers end with whoever has asked for them."""
        assert self.process.stdin is not None
        self.process.stdin.close()
        try:
            self.process.wait(ENDING)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self._folder.cleanup()


class WarmTrainer:
    """A trainer that was started by such a process.

    Args:
        path: of the process's socket.
        agreement: file of the client's ``Agreement``.

    Raises:
        OSError: no such process listens there.
    """

    def __init__(self, path: str, agreement: Path) -> None:
        self._connection = socket.socket(socket.AF_UNIX)
        (its_input, tasks), (answers, its_output) = os.pipe(), os.pipe()
        self.stdin: IO[bytes] = os.fdopen(tasks, "wb")
        self.stdout: IO[bytes] = os.fdopen(answers, "rb")
        try:
            self._connection.connect(path)
            pipes = [its_input, its_output, sys.stderr.fileno()]
            socket.send_fds(self._connection, [str(agreement).encode()], pipes)
        except OSError:
            self._close()
            raise
        finally:
            os.close(its_input)
            os.close(its_output)

    def stop(self) -> int | None:
        """End it, which also ends one that has stopped responding; return its exit code."""
        with suppress(OSError):
            self._connection.shutdown(socket.SHUT_WR)
        code = self._code()
        self._close()
        return code

    def _close(self) -> None:
        for end in (self.stdin, self.stdout, self._connection):
            with suppress(OSError):
                end.close()

    def _code(self) -> int | None:
        """Wait until it has ended; None if the process that has started it is gone, too."""
        found = b""
        with suppress(OSError):
            while piece := self._connection.recv(CODE.size):
                found += piece
        return CODE.unpack(found)[0] if len(found) == CODE.size else None
