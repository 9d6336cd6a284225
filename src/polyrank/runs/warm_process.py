"""The process from which a host's trainers start: ``polyrank.client.warm_start`` says how.

Beside each trainer stands a keeper, a copy of this process, too: it kills the trainer when the
connection is closed, and tells its exit code.
"""

import os
import select
import signal
import socket
import sys
import threading
from collections.abc import Sequence
from contextlib import suppress
from importlib import import_module
from typing import NoReturn

from polyrank.client.warm_start import CODE
from polyrank.engines.start import NEEDED
from polyrank.runs.site_process import main as train

MOST = 4096  # bytes of a path


def main(listening: socket.socket) -> NoReturn:
    """Import what trainers need, then start one for each connection, until the input ends."""
    for name in NEEDED:
        import_module(name)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # keepers leave no zombies
    watched = [0, listening.fileno()]
    while True:
        ready, _, _ = select.select(watched, [], [])
        if 0 in ready:  # closed by the process that has started this one, or by its death
            os._exit(0)
        connection, _ = listening.accept()
        told, pipes, _, _ = socket.recv_fds(connection, MOST, 3)
        if len(pipes) == 3 and not os.fork():
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            listening.close()
            _start(connection, told.decode(), pipes)
        for number in pipes:
            os.close(number)
        connection.close()


def _start(connection: socket.socket, agreement: str, pipes: Sequence[int]) -> NoReturn:
    """Start a trainer and keep it."""
    if pid := os.fork():
        for number in pipes:
            os.close(number)
        _keep(connection, pid)
    connection.close()
    for place, number in enumerate(pipes):
        os.dup2(number, place)
        os.close(number)
    train(agreement)
    os._exit(1)


def _keep(connection: socket.socket, pid: int) -> NoReturn:
    """Wait for the trainer's end, and bring it about when the connection is closed."""

    def kill() -> None:
        with suppress(OSError):
            connection.recv(1)
        os.kill(pid, signal.SIGKILL)

    threading.Thread(target=kill, daemon=True).start()
    _, status = os.waitpid(pid, 0)
    with suppress(OSError):
        connection.sendall(CODE.pack(os.waitstatus_to_exitcode(status)))
    os._exit(0)


if __name__ == "__main__":
    main(socket.socket(fileno=int(sys.argv[1])))
