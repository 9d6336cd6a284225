"""Notice hosts that are connected again: those that a job has lost, or that a server has.

NVFlare lets no host back into a job: it ends between two rounds, and another one goes on. A host
whose server was started again needs some seconds to find it.
"""

import time
from collections.abc import Callable, Collection, Mapping, Sequence

from polyrank.engines.nvflare.console import Console

AGAIN = 0.5  # seconds between two looks at who has found the server
LOOK = 2.0  # seconds between two looks at who is connected
SURE = 1.0  # seconds by which a host must have been heard of after it was missed


def connected(
    sites: Callable[[], Mapping[str, float]], wanted: Collection[str], seconds: float
) -> Mapping[str, float]:
    """Wait until all hosts that are wanted are connected, or no longer; return who is then.

    Args:
        sites: tells who is connected.
        wanted: names of hosts.
        seconds: to wait at most.
    """
    end = time.monotonic() + seconds
    while True:
        there = sites()
        if not {*wanted} - there.keys() or time.monotonic() >= end:
            return there
        time.sleep(min(AGAIN, max(0.0, end - time.monotonic())))


class Returning:
    """The hosts that one job has lost.

    Args:
        console: connected to the server.
        hosts: client -> its host.
    """

    def __init__(self, console: Console, hosts: Mapping[str, str]) -> None:
        self._console, self._hosts = console, hosts
        self._heard: dict[str, float] = {}  # host -> when it was last heard of, when first missed
        self._looked, self._told = 0.0, False

    def back(self, lost: Sequence[str]) -> list[str]:
        """Return the clients that are back, once in the life of the job.

        Args:
            lost: clients that the job misses.
        """
        if self._told or not lost or time.monotonic() - self._looked < LOOK:
            return []
        self._looked = time.monotonic()
        there = self._console.sites()
        back = []
        for client in lost:
            host = self._hosts.get(client, "")
            before = self._heard.setdefault(host, there.get(host, 0.0))
            if there.get(host, 0.0) > before + SURE:
                back.append(client)
        self._told = bool(back)
        return back
