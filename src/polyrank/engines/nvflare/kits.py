"""Make and read kits: what one host needs to take part in a federation.

A kit holds the host's certificate and private key, the authority's certificate, where the server
is, and the policies. The authority's own key stays in a folder of its own beside the kits.
"""

import json
import logging
import re
import shutil
import tempfile
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from nvflare.lighter.entity import Project
from nvflare.lighter.impl.cert import CertBuilder
from nvflare.lighter.impl.static_file import StaticFileBuilder
from nvflare.lighter.impl.workspace import WorkspaceBuilder
from nvflare.lighter.provisioner import Provisioner

from polyrank.disk.files import write_whole
from polyrank.engines.nvflare.policies import AUTHORIZATION, server_resources, site_resources
from polyrank.engines.nvflare.signing import read_request, sign_for
from polyrank.errors import FederationError, nearest

NAME = "polyrank"  # of the project, as NVFlare calls it, and of its organisation
ADMIN = "admin@polyrank.org"  # NVFlare wants the name of a person in this form
AUTHORITY = "authority"
Kind = Literal["server", "admin", "site"]
_ABOUT = "polyrank.json"
SITE = re.compile(r"[A-Za-z][A-Za-z0-9_-]{0,62}")
_SERVER = re.compile(r"[A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?")
_TAKEN = frozenset({"server", "admin", AUTHORITY})
_LOGGER = logging.getLogger(__name__)  # NVFlare's own lines, which else are printed


@dataclass(frozen=True)
class Hosts:
    """Who takes part in a federation.

    Args:
        server: the server's name or address, as sites reach it.
        port: where it listens.
        sites: names of the clients' hosts.
        days: how long new certificates hold.
    """

    server: str
    port: int
    sites: Sequence[str]
    days: int = 360

    @classmethod
    def read(cls, path: Path) -> "Hosts":
        """Read a TOML file with ``server``, ``port``, ``sites`` and perhaps ``days``.

        Raises:
            FederationError: it cannot be read, or holds something else.
        """
        try:
            told = tomllib.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise FederationError(f"{path}: cannot be read: {error}") from error
        known = {"server": str, "port": int, "sites": list, "days": int}
        for key, value in told.items():
            if key not in known:
                raise FederationError(
                    f"{path}: unknown key {key}{nearest(key, known)}; allowed: {', '.join(known)}"
                )
            if type(value) is not known[key]:
                raise FederationError(f"{path}: {key} = {value!r}: expected {known[key].__name__}")
        missing = [key for key in ("server", "port", "sites") if key not in told]
        if missing:
            raise FederationError(f"{path}: expected {', '.join(missing)}, got none")
        return cls(**told).checked(path)

    def checked(self, path: Path) -> "Hosts":
        """Return itself if a certificate can bear its names.

        Raises:
            FederationError: a name or a number cannot be used.
        """
        for name in self.sites:
            if not isinstance(name, str) or not SITE.fullmatch(name) or name in _TAKEN:
                raise FederationError(
                    f"{path}: site {name!r}: expected letters, digits, - and _, beginning with a "
                    f"letter, at most 63, and none of {', '.join(sorted(_TAKEN))}"
                )
        if len(set(self.sites)) < len(self.sites) or not self.sites:
            raise FederationError(f"{path}: sites: expected different names, at least one")
        if not _SERVER.fullmatch(self.server) or len(self.server) > 63:
            raise FederationError(f"{path}: server = {self.server!r}: expected a host's name")
        if not 0 < self.port < 65536 or self.days < 1:
            raise FederationError(
                f"{path}: port = {self.port}, days = {self.days}: expected a port from 1 to 65535 "
                "and at least one day"
            )
        return self


@dataclass(frozen=True)
class Kit:
    """One host's kit.

    Args:
        path: its folder.
        kind: what the host does.
        name: the host's, as others know it.
        hosts: who takes part, as it was when the kit was made.
    """

    path: Path
    kind: Kind
    name: str
    hosts: Hosts

    @property
    def certificate(self) -> Path:
        """The host's own certificate."""
        return self.path / "startup" / ("server.crt" if self.kind == "server" else "client.crt")

    @property
    def key(self) -> Path:
        """The host's private key."""
        return self.certificate.with_suffix(".key")

    def write_local(self, name: str, content: Mapping[str, Any]) -> None:
        """Write what holds for this host alone, readable by its owner only."""
        path = self.path / "local" / name
        write_whole(path, json.dumps(content, indent=2).encode())
        path.chmod(0o600)


def make_kits(hosts: Hosts, out: Path, requests: Sequence[Path] = ()) -> list[Kit]:
    """Make a kit for the server, one for the admin, and one for every site.

    A kit that is there is left as it is; new ones are signed by the same authority.

    Args:
        hosts: who takes part.
        out: folder for the kits.
        requests: files in which sites ask for a certificate of a key of their own; their kits
            hold no private key.

    Raises:
        FederationError: a request cannot be used, or its site has a kit already.
    """
    asked = dict(read_request(path, hosts.sites) for path in requests)
    if there := [site for site in asked if (out / site).exists()]:
        raise FederationError(f"{out / there[0]}: expected no kit of a site that asks for one")
    wanted: list[tuple[str, Kind, str]] = [
        ("server", "server", hosts.server),
        ("admin", "admin", ADMIN),
        *((site, "site", site) for site in hosts.sites),
    ]
    new = [entry for entry in wanted if not (out / entry[0]).exists()]
    out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=out, prefix=".making-") as made:
        state = Path(made) / NAME / "state"
        kept = out / AUTHORITY / "cert.json"
        if kept.exists():
            state.mkdir(parents=True)
            shutil.copyfile(kept, state / kept.name)
        _provision(hosts, [name for _, kind, name in new if kind == "site"], made)
        _keep_authority(state / kept.name, kept)
        root = json.loads(kept.read_bytes())["root_pri_key"]
        for site, key in asked.items():
            sign_for(Path(made) / NAME / "prod_00" / site, key, root)
        for folder, kind, name in new:
            _take(Path(made) / NAME / "prod_00" / name, out / folder, kind, name, hosts)
    return [Kit(out / folder, kind, name, hosts) for folder, kind, name in new]


def open_kit(path: Path, kind: Kind) -> Kit:
    """Read a kit.

    Raises:
        FederationError: it is none, or one for another kind of host.
    """
    try:
        about = json.loads((path / "local" / _ABOUT).read_bytes())
        kit = Kit(path.absolute(), about["kind"], about["name"], Hosts(**about["hosts"]))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise FederationError(
            f"{path}: expected a kit that polyrank provision has made: {error}"
        ) from error
    if kit.kind != kind:
        raise FederationError(f"{path}: expected the kit of a {kind}, got that of a {kit.kind}")
    return kit


def _provision(hosts: Hosts, sites: Sequence[str], folder: str) -> None:
    """Let NVFlare make keys, certificates and start files."""
    project = Project(NAME, "")
    ports = {"fed_learn_port": hosts.port, "admin_port": hosts.port}
    project.set_server(hosts.server, NAME, ports)
    for site in sites:
        project.add_client(site, NAME, {})
    project.add_admin(ADMIN, NAME, {"role": "project_admin"})
    builders = [
        WorkspaceBuilder(),
        StaticFileBuilder(scheme="grpc"),
        CertBuilder(root_valid_days=hosts.days),
    ]
    context = Provisioner(folder, builders).provision(project, logger=_LOGGER)
    if context.get("build_error"):
        raise FederationError(f"{folder}: NVFlare could not make the kits: {context.get('errors')}")


def _keep_authority(state: Path, kept: Path) -> None:
    """Keep the authority's certificate and key, without the keys of the hosts."""
    if not kept.exists():
        held = json.loads(state.read_bytes())
        root = {name: value for name, value in held.items() if isinstance(value, str)}
        kept.parent.mkdir(mode=0o700, exist_ok=True)
        kept.touch(mode=0o600)
        kept.write_text(json.dumps(root))


def _take(made: Path, folder: Path, kind: Kind, name: str, hosts: Hosts) -> None:
    """Move a host's files to its kit, and write the policies in place of NVFlare's samples."""
    for path in list(made.rglob("*")):
        sample = path.suffix in (".default", ".sample", ".sh", ".txt", ".ipynb")
        if sample and path.name != "log_config.json.default":
            path.unlink()
    shutil.move(made, folder)
    folder.chmod(0o700)
    kit = Kit(folder, kind, name, hosts)
    about = {"kind": kind, "name": name, "hosts": {**vars(hosts), "sites": list(hosts.sites)}}
    kit.write_local(_ABOUT, about)
    if kind != "admin":
        kit.write_local("authorization.json", AUTHORIZATION)
    if kind == "site":
        kit.write_local("resources.json", site_resources())
    if kind == "server":
        kit.write_local("resources.json", server_resources(str(folder.absolute() / "jobs")))
