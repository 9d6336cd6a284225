"""Run on a federation from the admin's side, and keep a copy of the run's folder."""

from polyrank.console.progress import Silent, Watcher
from polyrank.engines.nvflare.following import Following
from polyrank.engines.nvflare.loopback import federation, host_of
from polyrank.engines.nvflare.request import Request
from polyrank.record.run_folder import Elsewhere, RunFolder
from polyrank.settings.federation import local_clients
from polyrank.settings.schema import Settings


def run_on(
    folder: RunFolder, settings: Settings, where: Elsewhere, watcher: Watcher | None = None
) -> None:
    """Start or go on with a run on a federation, to its end.

    Args:
        folder: of the admin's copy, locked.
        settings: of the run.
        where: the federation, and the run's name there.
        watcher: is told of the progress.

    Raises:
        PolyRankError: with the reason; what was saved stays, and can be resumed.
    """
    watcher = watcher or Silent()
    count = local_clients(where.federation)
    clients = [str(number) for number in range(count)]
    told = settings.model_dump(mode="json", exclude_none=True)
    request = Request(where.run, told, {client: host_of(client) for client in clients})
    watcher.stage(f"starting a server and {count} clients' hosts on this machine")
    with federation(clients, folder.path / "federation") as (console, _):
        Following(console, request, folder, where, watcher).to_the_end()
