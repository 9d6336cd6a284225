"""Run and resume federations from Python. Nothing slow is imported before it is needed."""

import secrets
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from polyrank.allocators import ALLOCATORS
from polyrank.console.notebook import notebook_watcher
from polyrank.console.progress import Watcher
from polyrank.datasets.data import Data
from polyrank.datasets.given import GIVEN, handed_over
from polyrank.datasets.load import check_files, check_source
from polyrank.errors import RunFolderError, SettingsError
from polyrank.partitioners import PARTITIONERS
from polyrank.record.new_folder import new_folder
from polyrank.record.run_folder import Elsewhere, RunFolder
from polyrank.settings.federation import LOCAL, settings_on
from polyrank.settings.privacy import check_epsilon
from polyrank.settings.schema import CHANGEABLE_ON_RESUME, Settings
from polyrank.settings.toml import changed_keys, load_settings, make_settings, override
from polyrank.settings.trust import refuse_own_code

if TYPE_CHECKING:
    from polyrank.runs.result import Result


def run(
    settings: Settings | Mapping[str, Any] | str | Path,
    *,
    data: object = None,
    out: str | Path | None = None,
    overwrite: bool = False,
    overrides: Sequence[str] = (),
    watcher: Watcher | None = None,
    federation: str | None = None,
    clients: Sequence[str] = (),
    min_clients: int = 1,
) -> "Result":
    """Run a federation from its settings to its end.

    Args:
        settings: a settings file, a mapping such as the file would hold, or ``Settings``.
        data: in place of ``data.source``: a data frame of pandas, with ``target`` among the
            settings' ``data``; a ``Dataset`` of Hugging Face; a ``Dataset`` of PyTorch, whose
            items are pairs of input and label; a pair of arrays; or a mapping from the names
            of clients to one of these for each, which are then the clients. They are not kept.
        out: the run folder, new, empty, or left by a run that was killed before it had saved
            anything; by default a new one below ``runs``.
        overwrite: remove the run that is in ``out``; of any other folder nothing is removed.
        overrides: ``"dotted.key=value"``, for a settings file or a mapping.
        watcher: is told of the progress; by default a card shows it in a notebook, and nothing
            elsewhere.
        federation: where the clients are: ``local:N`` starts N hosts on this machine, real
            processes with TLS between them; the folder of an admin's kit reaches those that have
            joined; left out, they are simulated.
        clients: which of those that have joined take part; all by default.
        min_clients: how many must have joined.

    Raises:
        SettingsError: the settings are impossible; nothing was started, nothing is left.
        PolyRankError: the run failed; the last state stays in the run folder, and without any
            nothing is left.
    """
    checked = _checked(settings, overrides, data)
    check_methods(checked, here=not federation or federation.startswith(LOCAL))
    if federation:
        checked = settings_on(checked, federation)
        _check_nvflare(federation)
        if data is not None:
            raise SettingsError(
                f"federation {federation!r}: expected data.source, which hosts read themselves; "
                "data that are handed over stay in this process"
            )
        if not federation.startswith(LOCAL):
            from polyrank.engines.nvflare.running import check_there

            check_there(Path(federation), clients, min_clients)
    else:
        _check_workers(checked)
    given = None if data is None else handed_over(data, checked.data.options)
    path = Path(out) if out else free_folder(Path("runs"), checked.name)
    with new_folder(path, checked, overwrite=overwrite) as folder:
        if federation:
            where = Elsewhere(federation, f"run-{secrets.token_hex(8)}", tuple(clients))
            return _on_federation(folder, checked, where, watcher)
        return _simulated(folder, checked, watcher, given)


def resume(
    path: str | Path,
    *,
    data: object = None,
    overrides: Sequence[str] = (),
    watcher: Watcher | None = None,
    trust: bool = False,
) -> "Result":
    """Go on with an interrupted run; it ends with the same bits as an uninterrupted one.

    Of a run that has finished all its rounds the result is returned as it is.

    Args:
        path: the run folder.
        data: what was handed over to the run, if it was; that it is the same is checked.
        overrides: only of rounds, workers, task_timeout, device and trackers.
        watcher: is told of the progress.
        trust: import and call what the folder's settings name beside PolyRank's own methods.

    Raises:
        RunFolderError: there is no run, another setting was changed, or the settings name code
            of one's own and ``trust`` is not given.
        SettingsError: fewer rounds are asked for than are finished.
    """
    folder = RunFolder.open(Path(path))
    old = folder.settings
    if not trust:
        refuse_own_code(old, folder.path, "run --resume")
    new = load_settings(folder.path / "config.toml", overrides)
    refused = [key for key in changed_keys(old, new) if key not in CHANGEABLE_ON_RESUME]
    if refused:
        raise RunFolderError(
            f"{folder.path}: {', '.join(refused)} cannot change on resume; "
            f"only {', '.join(sorted(CHANGEABLE_ON_RESUME))} can"
        )
    given = None if data is None else handed_over(data, old.data.options)
    with folder.locked():
        _check_rounds(folder, new.rounds)
        if folder.finished and (summary := folder.read_summary()).rounds == new.rounds:
            report = folder.path / "report.html"
            if watcher:
                watcher.note(
                    f"{folder.path}: already finished, in round {new.rounds}; the report is "
                    f"{report}; rounds = N goes on to N rounds"
                )
            from polyrank.runs.result import Result

            return Result(folder.path, summary.as_json(), given)
        if not folder.elsewhere:
            _check_workers(new)
        folder.write_settings(new)
        if where := folder.elsewhere:
            return _on_federation(folder, new, where, watcher)
        return _simulated(folder, new, watcher, given)


def _simulated(
    folder: RunFolder, settings: Settings, watcher: Watcher | None, given: Data | None
) -> "Result":
    watcher = watcher or notebook_watcher()
    if watcher:
        watcher.stage("data and model")  # importing torch and PEFT takes seconds
    if settings.workers not in ("auto", 1):
        from polyrank.engines.start import load_early

        load_early()  # they import what this process imports, while it does
    from polyrank.runs.simulation import simulate

    return simulate(folder, settings, watcher, given)


def _check_workers(settings: Settings) -> None:
    if settings.workers not in ("auto", 1):
        from polyrank.engines.start import check_script

        check_script(f"workers = {settings.workers}")


def _on_federation(
    folder: RunFolder, settings: Settings, where: Elsewhere, watcher: Watcher | None
) -> "Result":
    _check_nvflare(where.federation)
    from polyrank.engines.nvflare.running import run_on
    from polyrank.runs.result import Result

    run_on(folder, settings, where, watcher)
    return Result(folder.path, folder.read_summary().as_json())


def _check_nvflare(federation: str) -> None:
    if find_spec("nvflare") is None:
        raise SettingsError(
            f"federation {federation!r}: expected NVFlare, which is not installed: "
            "pip install 'polyrank[nvflare]'"
        )


def free_folder(parent: Path, name: str) -> Path:
    """Return ``parent/name``, or ``parent/name-2``, ... : the first that is not there."""
    number = 1
    while True:
        path = parent / (name if number == 1 else f"{name}-{number}")
        if not path.exists():
            return path
        number += 1


def _check_rounds(folder: RunFolder, wanted: int) -> None:
    """Raise SettingsError if a run has finished more rounds than are wanted."""
    last = folder.last_state()
    if last is not None and last > folder.state_path(wanted):
        done = int(last.stem.removeprefix("round-"))
        raise SettingsError(
            f"{folder.path}: rounds = {wanted}: expected at least {done}, which are finished"
        )


def _checked(
    settings: Settings | Mapping[str, Any] | str | Path, overrides: Sequence[str], data: object
) -> Settings:
    if isinstance(settings, str | Path):
        loaded = load_settings(Path(settings), overrides)
        return loaded if data is None else make_settings(with_given(loaded.model_dump(), data))
    document = settings.model_dump() if isinstance(settings, Settings) else {**settings}
    for text in overrides:
        override(document, text)
    if data is not None and not isinstance(settings, Settings):
        check_no_source(document)
    return make_settings(document if data is None else with_given(document, data))


def check_no_source(document: Mapping[str, Any]) -> None:
    """Raise SettingsError if settings name data, and data are handed over beside them."""
    named = document.get("data", {})
    source = named.get("source") if isinstance(named, Mapping) else named
    if source is not None:
        raise SettingsError(
            f"data.source = {source!r} in the settings, and data are handed over: expected one of "
            "them"
        )


def with_given(document: Mapping[str, Any], data: object) -> dict[str, Any]:
    """Say in the settings that data were handed over, and that they name clients if they do."""
    options = document.get("data", {})
    clients = {} if not isinstance(data, Mapping) else {"partition": "natural"}
    return {**clients, **document, "data": {**options, "source": GIVEN}}


def check_methods(settings: Settings, *, here: bool) -> None:
    """Check the options of all methods that import without torch, and that files are there."""
    check_source(settings.data.source, settings.data.options)
    if here:
        check_files(settings.data.source, settings.data.options)
    if settings.base != "random" and not Path(settings.base).is_file():
        got = "a folder" if Path(settings.base).is_dir() else "nothing"
        raise SettingsError(
            f"base = {settings.base!r}: expected 'random' or a file of safetensors, got {got} "
            f"(in {Path.cwd()})"
        )
    PARTITIONERS.build(settings.partition)
    ALLOCATORS.build(settings.allocator)
    check_epsilon(settings)
