"""The server's half of any run, from an open folder to its end, whatever carries the tasks."""

from collections.abc import Callable
from typing import Protocol, TypeAlias

from polyrank.console.progress import Watcher
from polyrank.datasets import Data
from polyrank.learning.forward import choose_device
from polyrank.protocol.engine import Engine
from polyrank.record.run_folder import RunFolder
from polyrank.runs.experiment import Experiment
from polyrank.runs.opening import keep_base, open_run
from polyrank.runs.preparation import Prepared, prepare
from polyrank.runs.result import Result
from polyrank.runs.stopwatch import Stopwatch
from polyrank.server.evaluation import Examine
from polyrank.server_optimizers import SERVER_OPTIMIZERS
from polyrank.settings.combinations import check_combination
from polyrank.settings.schema import Settings
from polyrank.threads import one_thread


class Examining(Engine, Protocol):
    """An engine beside which the server's own rows are examined."""

    @property
    def examine(self) -> Examine:
        """Counts answers of the model on the server's own rows."""


Reach: TypeAlias = Callable[[Prepared], Examining]


def conduct(
    folder: RunFolder,
    settings: Settings,
    watcher: Watcher,
    reach: Reach,
    given: Data | None = None,
    prepared_by: Callable[..., Prepared] = prepare,
) -> Result:
    """Start or go on with the run in a folder, to its end.

    Args:
        folder: of the run, locked.
        settings: of the run.
        watcher: is told of the progress.
        reach: makes the engine from what both sides have.
        given: data that were handed over in Python; None to load what the settings name.
        prepared_by: gives each side what is its own, as ``prepare`` does.

    Raises:
        PolyRankError: with the reason; what was saved stays, and can be resumed.
    """
    clock = Stopwatch()
    with one_thread():
        opened = open_run(folder, settings, watcher)
        check_combination(settings)
        SERVER_OPTIMIZERS.build(settings.server_optimizer)
        choose_device(settings.device)
        cache = folder.checkpoint / "tokens"
        prepared = prepared_by(settings, folder.clients, opened.base, opened.start, cache, given)
        side = prepared.server
        if side.texts and side.texts["cut"]:
            watcher.note(
                f"{side.texts['cut']} of {side.texts['texts']} texts are longer than "
                f"{side.texts['max_length']} tokens and lose their end"
            )
        if opened.base is None:
            keep_base(folder, settings, side)
        engine = reach(prepared)
        try:
            run = Experiment(folder, settings, side, engine, engine.examine, opened, watcher, clock)
            return run.to_the_end()
        finally:
            engine.close()
