"""A whole federation on this machine: real processes, certificates and TLS over loopback."""

import contextlib
import socket
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from polyrank.client.agreement import Agreement
from polyrank.client.warm_start import WarmStart
from polyrank.engines.nvflare.console import Console
from polyrank.engines.nvflare.kits import SITE, Hosts, Kit, make_kits
from polyrank.engines.nvflare.parcels import AGREEMENT, PLACE
from polyrank.engines.nvflare.processes import Host, stop_all
from polyrank.errors import FederationError

STARTING = 120.0  # seconds in which all hosts must be connected


def hosts_of(clients: Sequence[str]) -> dict[str, str]:
    """Return client -> name of its host: after the client where a certificate can bear that.

    >>> hosts_of(["0", "ward 7"])
    {'0': 'site-0', 'ward 7': 'host-1'}
    """
    named = [f"site-{client}" for client in clients]
    return {
        client: name if SITE.fullmatch(name) else f"host-{place}"
        for place, (client, name) in enumerate(zip(clients, named, strict=True))
    }


@contextlib.contextmanager
def federation(clients: Sequence[str], keep: Path) -> Iterator[tuple[Console, list[Host]]]:
    """Start a server and a host for each client; yield the admin's connection and the hosts.

    Keys and certificates are made anew and are removed at the end; what server and clients keep
    of a run stays.

    Args:
        clients: their names.
        keep: folder for what is kept.

    Raises:
        FederationError: they did not all connect.
    """
    hosts: list[Host] = []
    with (
        contextlib.closing(WarmStart()) as warm,
        tempfile.TemporaryDirectory(prefix="polyrank-") as folder,
    ):
        names = hosts_of(clients)
        wanted = Hosts("localhost", _free_port(), [*names.values()], days=2)
        kits = {kit.name: kit for kit in make_kits(wanted, Path(folder))}
        console = None
        try:
            hosts += [_server(kits["localhost"], keep)]
            hosts += [_site(kits[host], client, keep, warm) for client, host in names.items()]
            admin = next(kit for kit in kits.values() if kit.kind == "admin")
            console = Console(admin, STARTING)
            _wait_for(wanted.sites, console, hosts)
            yield console, hosts
        finally:
            if console:
                console.close()
            stop_all(hosts)


def _server(kit: Kit, keep: Path) -> Host:
    kit.write_local(PLACE, {"runs": str((keep / "server").absolute())})
    return Host(kit)


def _site(kit: Kit, client: str, keep: Path, warm: WarmStart) -> Host:
    agreement = Agreement(client, str((keep / kit.name).absolute()), warm=warm.path)
    agreement.write(kit.path / "local" / AGREEMENT)
    return Host(kit)


def _wait_for(sites: Sequence[str], console: Console, hosts: Sequence[Host]) -> None:
    end = time.monotonic() + STARTING
    while missing := set(sites) - console.sites().keys():
        for host in hosts:
            host.check()
        if time.monotonic() > end:
            raise FederationError(f"{', '.join(sorted(missing))}: no connection in {STARTING:g} s")
        time.sleep(0.2)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
