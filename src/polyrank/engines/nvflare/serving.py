"""What the server's job does: the whole run, in a folder of the server's host."""

import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from polyrank.engines.crew import Crew
from polyrank.engines.local import LocalEngine
from polyrank.engines.nvflare.carrier import Carrier
from polyrank.engines.nvflare.events import Events
from polyrank.engines.nvflare.pausing import Pause, Paused
from polyrank.engines.nvflare.request import Request
from polyrank.engines.nvflare.sender import Sender
from polyrank.errors import FederationError, PolyRankError, RunFolderError
from polyrank.protocol.setup import Setup
from polyrank.record.new_folder import new_folder
from polyrank.record.run_folder import RunFolder
from polyrank.runs.conducting import conduct
from polyrank.runs.opening import base_to_keep
from polyrank.runs.own_data import prepare_server
from polyrank.runs.preparation import Prepared, prepare
from polyrank.settings.schema import Settings
from polyrank.settings.toml import make_settings
from polyrank.settings.trust import own_code

ENDING = 30.0  # seconds in which an earlier job of the run must have ended


class Served:
    """One job of a run on the server's host.

    Args:
        request: of the admin.
        runs: folder in which the run has its own.
        sender: reaches the clients.
    """

    def __init__(self, request: Request, runs: Path, sender: Sender) -> None:
        if Path(request.run).name != request.run or request.run.startswith("."):
            raise FederationError(f"expected a run's name, got {request.run!r}")
        self.request, self.folder, self._sender = request, runs / request.run, sender
        self.events, self.pause = Events(), Pause()

    def perform(self) -> None:
        """Run until the end, a pause or an error; the events hold how it ended."""
        try:
            self._conduct()
        except Paused:
            self.events.outcome = {"ended": "paused"}
        except PolyRankError as error:
            self._failed(type(error).__name__, str(error))
        except Exception as error:
            self._failed("FederationError", f"the server's job: {type(error).__name__}: {error}")
        else:
            self.events.outcome = {"ended": "done"}

    def _failed(self, kind: str, reason: str) -> None:
        self.events.outcome = {"ended": "failed", "kind": kind, "reason": reason}

    def _conduct(self) -> None:
        settings = make_settings(self.request.settings, "the run's settings")
        if named := own_code(settings):
            names = ", ".join(f"{key} = {name!r}" for key, name in named)
            raise FederationError(f"the run names code that is not PolyRank's own: {names}")
        self.events.stage("data and model")
        with self._opened(settings) as folder:
            conduct(
                folder,
                settings,
                self.events,
                lambda prepared: self._reach(settings, prepared),
                prepared_by=prepare if self.request.split else prepare_server,
            )

    @contextmanager
    def _opened(self, settings: Settings) -> Iterator[RunFolder]:
        """Open the folder of the run, or make it."""
        if RunFolder(self.folder).last_state() is None:
            with new_folder(self.folder, settings) as folder:
                yield folder
            return
        folder = RunFolder.open(self.folder)
        with ExitStack() as stack:
            end = time.monotonic() + ENDING
            while True:
                try:
                    stack.enter_context(folder.locked())
                    break
                except RunFolderError:  # by a job whose server was killed, and that will notice
                    if time.monotonic() > end:
                        raise
                time.sleep(0.5)
            folder.write_settings(settings)
            yield folder

    def _reach(self, settings: Settings, prepared: Prepared) -> Carrier:
        side = prepared.server
        base, about = base_to_keep(settings, side)
        columns = list(side.columns.names) if side.columns else None
        about |= {"label_names": list(side.label_names), "columns": columns}
        told = settings.model_dump(mode="json", exclude_none=True)
        setup = Setup(self.request.run, told, about, base, side.blueprint.start)
        examiner = LocalEngine(Crew(side.blueprint, {}, None, side.rows))
        clients = list(self.request.clients)
        return Carrier(clients, self._sender, setup.pack(), examiner, self.pause)
