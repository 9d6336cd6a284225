"""Run a federation whose clients are all on this machine."""

from polyrank.console.progress import Silent, Watcher
from polyrank.engines.crew import Crew
from polyrank.engines.crowding import crowding
from polyrank.engines.local import LocalEngine
from polyrank.learning.forward import choose_device
from polyrank.record.run_folder import RunFolder
from polyrank.runs.experiment import Experiment, Result
from polyrank.runs.opening import keep_base, open_run
from polyrank.runs.preparation import prepare
from polyrank.runs.stopwatch import Stopwatch
from polyrank.server_optimizers import SERVER_OPTIMIZERS
from polyrank.settings.combinations import check_combination
from polyrank.settings.schema import Settings
from polyrank.threads import one_thread


def simulate(folder: RunFolder, settings: Settings, watcher: Watcher | None = None) -> Result:
    """Start or go on with the run in a folder, to its end.

    Raises:
        PolyRankError: with the reason; what was saved stays, and can be resumed.
    """
    watcher, clock = watcher or Silent(), Stopwatch()
    with one_thread():
        opened = open_run(folder, settings, watcher)
        check_combination(settings)
        SERVER_OPTIMIZERS.build(settings.server_optimizer)
        device = choose_device(settings.device)
        cache = folder.checkpoint / "tokens"
        prepared = prepare(settings, folder.clients, opened.base, opened.start, cache)
        side = prepared.server
        if side.texts and side.texts["cut"]:
            watcher.note(
                f"{side.texts['cut']} of {side.texts['texts']} texts are longer than "
                f"{side.texts['max_length']} tokens and lose their end"
            )
        if opened.base is None:
            keep_base(folder, settings, side)
        engine = _engine(prepared.crew, settings, on_cpu=device.type == "cpu")
        try:
            run = Experiment(folder, settings, side, engine, engine.examine, opened, watcher, clock)
            return run.to_the_end()
        finally:
            engine.close()


def _engine(crew: Crew, settings: Settings, *, on_cpu: bool) -> LocalEngine:
    if settings.workers != "auto":
        return LocalEngine(crew, settings.workers)
    return LocalEngine(crew, crowding=crowding(settings, len(crew.sites), on_cpu))
