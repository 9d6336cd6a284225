"""Run a federation whose clients are all on this machine."""

from dataclasses import replace

from polyrank.console.progress import Silent, Watcher
from polyrank.datasets import Data
from polyrank.engines.crew import Crew
from polyrank.engines.crowding import crowding
from polyrank.engines.local import LocalEngine
from polyrank.learning.forward import choose_device
from polyrank.record.run_folder import RunFolder
from polyrank.runs.conducting import conduct
from polyrank.runs.result import Result
from polyrank.settings.schema import Settings


def simulate(
    folder: RunFolder,
    settings: Settings,
    watcher: Watcher | None = None,
    given: Data | None = None,
) -> Result:
    """Start or go on with the run in a folder, to its end.

    Args:
        folder: of the run.
        settings: of the run.
        watcher: is told of the progress.
        given: data that were handed over in Python; None to load what the settings name.

    Raises:
        PolyRankError: with the reason; what was saved stays, and can be resumed.
    """
    result = conduct(
        folder,
        settings,
        watcher or Silent(),
        lambda prepared: _engine(prepared.crew, settings),
        given,
    )
    return replace(result, data=given)


def _engine(crew: Crew, settings: Settings) -> LocalEngine:
    if settings.workers != "auto":
        return LocalEngine(crew, settings.workers)
    on_cpu = choose_device(settings.device).type == "cpu"
    return LocalEngine(crew, crowding=crowding(settings, len(crew.sites), on_cpu))
