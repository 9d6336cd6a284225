"""Run on a federation from the admin's side, and keep a copy of the run's folder."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from polyrank.console.progress import Silent, Watcher
from polyrank.engines.nvflare.console import Console
from polyrank.engines.nvflare.following import Following
from polyrank.engines.nvflare.kits import open_kit
from polyrank.engines.nvflare.loopback import federation, hosts_of
from polyrank.engines.nvflare.request import Request
from polyrank.engines.nvflare.validity import check_kit
from polyrank.errors import FederationError, SettingsError
from polyrank.record.run_folder import Elsewhere, RunFolder
from polyrank.settings.federation import LOCAL, local_clients
from polyrank.settings.schema import Settings


def run_on(
    folder: RunFolder, settings: Settings, where: Elsewhere, watcher: Watcher | None = None
) -> None:
    """Start or go on with a run on a federation, to its end.

    Args:
        folder: of the admin's copy, locked.
        settings: of the run.
        where: the federation, its clients, and the run's name there.
        watcher: is told of the progress.

    Raises:
        PolyRankError: with the reason; what was saved stays, and can be resumed.
    """
    watcher = watcher or Silent()
    if where.federation.startswith(LOCAL):
        names = _names_here(settings, where.federation)
        watcher.stage(f"starting a server and {len(names)} clients' hosts on this machine")
        with federation(names, folder.path / "federation") as (console, _):
            _follow(console, folder, settings, where, hosts_of(names), watcher)
        return
    watcher.stage("connecting to the server")
    console = admin_console(Path(where.federation))
    try:
        names = list(where.clients) or sorted(console.sites())
        where = Elsewhere(where.federation, where.run, tuple(names))
        hosts = {name: name for name in names}
        _follow(console, folder, settings, where, hosts, watcher)
    finally:
        console.close()


def _names_here(settings: Settings, name: str) -> list[str]:
    """Return the clients among whom the settings' data are split; groups keep their names.

    Raises:
        SettingsError: the data have another number of groups than ``local:N`` has hosts.
    """
    count = local_clients(name)
    if settings.partition.kind != "natural":
        return [str(number) for number in range(count)]
    from polyrank.runs.loading import load_split

    names = [client.name for client in load_split(settings)[1].clients]
    if len(names) != count:
        raise SettingsError(
            f"federation {name!r}: the data have {len(names)} groups, each a client: expected "
            f"{LOCAL}{len(names)}"
        )
    return names


def admin_console(path: Path) -> Console:
    """Connect with an admin's kit.

    Raises:
        FederationError: the kit cannot be used, or no server answers.
    """
    kit = open_kit(path, "admin")
    check_kit(kit)
    return Console(kit)


def check_there(path: Path, wanted: Sequence[str], least: int) -> None:
    """Check that clients are connected before a run is made.

    Raises:
        FederationError: some that are wanted are not there, or too few.
    """
    console = admin_console(path)
    try:
        there = console.sites()
    finally:
        console.close()
    missing = [name for name in wanted if name not in there]
    if missing or len(there) < least:
        raise FederationError(
            f"expected {', '.join(wanted) or f'at least {least} clients'}, connected are "
            f"{', '.join(sorted(there)) or 'none'}"
        )


def _follow(
    console: Console,
    folder: RunFolder,
    settings: Settings,
    where: Elsewhere,
    hosts: Mapping[str, str],
    watcher: Watcher,
) -> None:
    told = settings.model_dump(mode="json", exclude_none=True)
    split = where.federation.startswith(LOCAL)
    request = Request(where.run, told, hosts, split=split)
    Following(console, request, folder, where, watcher).to_the_end()
