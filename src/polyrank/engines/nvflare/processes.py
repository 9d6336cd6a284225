"""Start and stop the one NVFlare process that stays on a server's or a client's host.

It starts a process for each job, and that the trainer's. All of them are ended with it, so that
nothing is left behind.
"""

import os
import subprocess
import sys
from collections.abc import Sequence
from contextlib import suppress

import psutil

from polyrank.engines.nvflare.kits import NAME, Kit
from polyrank.errors import FederationError

CONSOLE = "console.log"
ENDING = 5.0  # seconds that processes have to end by themselves
_MODULES = {
    "server": ("nvflare.private.fed.app.server.server_train", "fed_server.json"),
    "site": ("nvflare.private.fed.app.client.client_train", "fed_client.json"),
}


class Host:
    """A running server's or client's host.

    Args:
        kit: its kit, which is also the folder that it works in.
    """

    def __init__(self, kit: Kit) -> None:
        self.kit = kit
        self.console = kit.path / CONSOLE
        module, start = _MODULES[kit.kind]
        told = ["secure_train=true", f"org={NAME}", "config_folder="]
        if kit.kind == "site":
            told += [f"uid={kit.name}", "heart_beat_interval=4"]  # in steps of two seconds
        command = [sys.executable, "-u", "-m", module, "-m", str(kit.path), "-s", start]
        (kit.path / "transfer").mkdir(exist_ok=True)
        environment = {"OMP_NUM_THREADS": "1", "MALLOC_ARENA_MAX": "4", **os.environ}
        with self.console.open("wb") as out:
            self.process = subprocess.Popen(
                [*command, "--set", *told],
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
                env=environment,
                start_new_session=True,
            )

    @property
    def alive(self) -> bool:
        """Whether it still runs."""
        return self.process.poll() is None

    def check(self) -> None:
        """Raise FederationError, with its last words, if it has ended."""
        if not self.alive:
            raise FederationError(
                f"the process of {self.kit.name} ended (exit code {self.process.returncode}); "
                f"its last lines: {self.last_words()}"
            )

    def last_words(self, lines: int = 5) -> str:
        """Return the last lines that it has printed."""
        with suppress(OSError):
            return " / ".join(self.console.read_text(errors="replace").splitlines()[-lines:])
        return ""

    def family(self) -> list[psutil.Process]:
        """Return its process and all that it has started, such as those of jobs."""
        try:
            found = psutil.Process(self.process.pid)
            return [found, *found.children(recursive=True)]
        except psutil.NoSuchProcess:
            return []


def stop_all(hosts: Sequence[Host]) -> None:
    """End several hosts, and every process that they have started."""
    family = [process for host in hosts for process in host.family()]
    for process in family:
        with suppress(psutil.NoSuchProcess):
            process.terminate()
    _, left = psutil.wait_procs(family, ENDING)
    for process in left:
        with suppress(psutil.NoSuchProcess):
            process.kill()
    for host in hosts:
        host.process.wait()
