"""Keep a server's or a client's host running until it is stopped."""

import secrets
import signal
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from pathlib import Path

from polyrank.client.agreement import Agreement
from polyrank.client.warm_start import WarmStart
from polyrank.engines.nvflare.kits import Kit, open_kit
from polyrank.engines.nvflare.parcels import AGREEMENT, PLACE
from polyrank.engines.nvflare.policies import server_resources
from polyrank.engines.nvflare.processes import Host, stop_all
from polyrank.engines.nvflare.validity import check_kit
from polyrank.errors import FederationError

SAID = "polyrank: "  # begins what the processes of a client's host say to its owner
AGAIN = 5.0  # seconds before a process that has ended is started again
LOOK = 0.3
QUICK = 3  # ends in a row, each within a minute, after which the host gives up

Tell = Callable[[str], None]


def serve(path: Path, runs: Path | None, tell: Tell) -> None:
    """Run the server's host until Ctrl-C or SIGTERM.

    Args:
        path: of its kit.
        runs: folder for runs; by default one in the kit.
        tell: is told what goes on.

    Raises:
        FederationError: the kit cannot be used, or the process ends again and again.
    """
    kit = open_kit(path, "server")
    check_kit(kit)
    place = (runs or kit.path / "runs").absolute()
    place.mkdir(parents=True, exist_ok=True)
    kit.write_local(PLACE, {"runs": str(place)})
    kit.write_local("resources.json", server_resources(str(kit.path / "jobs")))
    tell(f"server {kit.name}, port {kit.hosts.port}; runs are kept in {place}; Ctrl-C ends it")
    _stay(kit, tell)


def join(path: Path, agreement: Agreement, tell: Tell) -> None:
    """Run a client's host until Ctrl-C or SIGTERM; it waits for a server that is down.

    Args:
        path: of its kit.
        agreement: of its owner; client and store are the kit's.
        tell: is told what goes on.

    Raises:
        FederationError: the kit cannot be used, or the process ends again and again.
    """
    kit = open_kit(path, "site")
    check_kit(kit)
    own = replace(
        agreement,
        client=kit.name,
        store=str(kit.path / "store"),
        secret=_secret(kit.path / "local" / "secret"),
    )
    hosts = kit.hosts
    tell(f"client {kit.name}, server {hosts.server}, port {hosts.port}; Ctrl-C ends it")
    with closing(WarmStart()) as warm:
        replace(own, warm=warm.path).write(kit.path / "local" / AGREEMENT)
        _stay(kit, tell)


def _secret(path: Path) -> int:
    """Return the secret that seeds this client's noise; made once, so that noise is the same."""
    if not path.exists():
        path.touch(mode=0o600)
        path.write_text(str(secrets.randbits(62)))
    return int(path.read_text())


def _stay(kit: Kit, tell: Tell) -> None:
    """Start the host's process, and again if it ends, until this process is told to end."""
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    quick = 0
    try:
        while quick < QUICK:
            began = time.monotonic()
            host = Host(kit)
            try:
                _follow(host, tell)
            finally:
                stop_all([host])
            quick = quick + 1 if time.monotonic() - began < 60 else 0
            tell(f"the process ended (exit code {host.process.returncode}); starting it again")
            time.sleep(AGAIN)
        raise FederationError(
            f"the process ended {QUICK} times; its last lines: {host.last_words()}"
        )
    except KeyboardInterrupt:
        tell("stopped")
    finally:
        signal.signal(signal.SIGTERM, before)


def _follow(host: Host, tell: Tell) -> None:
    """Tell what the processes of the host say to its owner, until it ends."""
    with host.console.open(encoding="utf-8", errors="replace") as lines:
        part = ""
        while host.alive:
            while piece := lines.readline():
                part += piece
                if not part.endswith("\n"):
                    break
                if part.startswith(SAID):
                    tell(part.removeprefix(SAID).rstrip())
                part = ""
            time.sleep(LOOK)
