"""Compare ways to run a federation: the same data, seeds, start and help of the server for all."""

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from polyrank.api import free_folder
from polyrank.comparing.cells import Cell, check_kept, compared_cell, tuning_cell
from polyrank.comparing.comparison import Comparison
from polyrank.comparing.device_time import DeviceTime, federated_seconds
from polyrank.comparing.page import write_page
from polyrank.comparing.plan import RATE, Plan, Variant, planned
from polyrank.comparing.rows import Done
from polyrank.comparing.running import run_cells
from polyrank.comparing.same_start import check_same_start
from polyrank.comparing.tuning import Tuned, judged_try, rates_around
from polyrank.comparing.waiting import Waiting
from polyrank.console.notebook import notebook_watcher
from polyrank.console.progress import Silent, Watcher
from polyrank.datasets import Data
from polyrank.datasets.given import handed_over
from polyrank.disk.files import lock, write_whole
from polyrank.disk.outside import read_object
from polyrank.engines.start import check_script
from polyrank.errors import RunFolderError, SettingsError
from polyrank.formats import FORMAT, VERSION, check_format
from polyrank.record.run_folder import LOCK
from polyrank.record.schema import Metrics
from polyrank.report.ahead import is_control
from polyrank.report.reading import read_run
from polyrank.report.words import plural
from polyrank.settings.schema import Settings

TABLE = "comparison.json"
LARGEST = 2**26  # bytes of it


def compare(
    settings: Settings | Mapping[str, Any] | str | Path,
    *,
    data: object = None,
    arms: Mapping[str, Mapping[str, Any]] | None = None,
    seeds: int | Sequence[int] = 3,
    out: str | Path | None = None,
    against: str | None = None,
    controls: bool = True,
    tune: bool = True,
    tune_seeds: int = 1,
    jobs: int = 1,
    target: float | None = None,
    device_time: DeviceTime | None = None,
    overrides: Sequence[str] = (),
    watcher: Watcher | None = None,
) -> Comparison:
    """Run arms with the same seeds, and say what they differ by and how sure that is.

    An arm that fails does not stop the others. Called again with the same folder, it goes on
    where it was interrupted, and more seeds or arms may be asked for.

    Args:
        settings: a settings file, a mapping such as the file would hold, or ``Settings``.
        data: in place of ``data.source``, as for ``polyrank.run``; the same for all runs.
        arms: name -> what it changes: dotted keys of the settings, and values that replace what
            is there. Left out, the settings themselves are the one arm.
        seeds: which, or how many from the settings' own seed on.
        out: the folder, by default a new one below ``runs``.
        against: the arm that the others are compared with, by default the first.
        controls: run one rank for all of the same budget, every client alone, and all data pooled,
            of that arm. The frozen base is in every run.
        tune: try three learning rates around the given one for each arm, at a seed of its own, and
            take the best on validation rows; of clients alone, on their own test rows.
        tune_seeds: how many seeds each rate is tried with; the mean decides. Where few validation
            rows are, or seeds differ much, one seed finds a rate by luck.
        jobs: how many runs go on at a time, each in a process of its own.
        target: accuracy, or perplexity, on validation rows that counts as reached; by default 0.95
            of what the arm that the others are compared with comes to.
        device_time: speeds of the clients' devices, to reckon how long the federation would take.
        overrides: ``"dotted.key=value"``, for all arms.
        watcher: is told of the progress.

    Raises:
        SettingsError: an arm is impossible, or the script that calls this is not guarded; nothing
            was started.
        RunFolderError: the folder holds runs of other settings, or another process is at work
            there; or runs of one seed did not have the same partition and start.
    """
    check_script("polyrank.compare")
    if jobs < 1:
        raise SettingsError(f"jobs: expected at least 1, got {jobs}")
    if tune_seeds < 1:
        raise SettingsError(f"tune_seeds: expected at least 1, got {tune_seeds}")
    plan = planned(
        settings,
        overrides=overrides,
        arms=arms,
        seeds=seeds,
        against=against,
        controls=controls,
        tune=tune,
        tune_seeds=tune_seeds,
        data=data,
    )
    base = plan.variants[0].settings
    if device_time and base.partition.clients:
        device_time.check(base.partition.clients)
    _check_target(target, base)
    given = None if data is None else handed_over(data, base.data.options)
    name = base.name if arms is None else "comparison"
    folder = Path(out) if out else free_folder(Path("runs"), f"{name}-compared")
    told = watcher or notebook_watcher() or Silent()
    with _locked(folder):
        _check_tuned_alike(folder, tune)
        made = _run(plan, folder, jobs, told, target, given)
        _write(made, tune)
        if device_time:
            made = _with_devices(made, device_time)
            _write(made, tune)
    return made


def _run(
    plan: Plan,
    out: Path,
    jobs: int,
    watcher: Watcher,
    target: float | None,
    given: Data | None,
) -> Comparison:
    """Run what is not there yet: learning rates first, then what is compared, seed by seed."""
    tries = {variant.name: _tries(plan, out, variant) for variant in plan.tuned}
    first = [cell for of in tries.values() for cell in of]
    last = _compared(plan, out, {})
    check_kept(first)
    check_kept(last, *([RATE] if first else []))
    waiting = Waiting([*first, *last], jobs, watcher)
    for note in plan.notes:
        watcher.note(note)
    waiting.begin(_sizes(plan, len(first)))
    failed = _run_missing(first, jobs, waiting, given)
    notes = [f"{name} failed while learning rates were tried: {e}" for name, e in failed.items()]
    tuned = [_tuned(plan, name, of) for name, of in tries.items()]
    notes += [_edge(one) for one in tuned if one.at_edge]
    notes += _luck([one for one in tuned if one.by_luck])
    for note in notes:
        watcher.note(note)
    last = _compared(plan, out, {one.arm: one.best for one in tuned})
    check_kept(last)
    failed = _hopeless(tuned, last)
    hopeful = [cell for cell in last if cell.name not in failed]
    failed |= _run_missing(hopeful, jobs, waiting, given)
    done = [Done(c, read_run(c.folder)) for c in last if c.finished and c.name not in failed]
    check_same_start((one.cell, one.run) for one in done)
    return Comparison(out, last, done, tuned, failed, [*plan.notes, *notes], target)


def _tries(plan: Plan, out: Path, variant: Variant) -> list[Cell]:
    given = variant.settings.training.learning_rate
    return [
        tuning_cell(out, variant, seed, rate)
        for rate in rates_around(given)
        for seed in plan.tuning_seeds
    ]


def _hopeless(tuned: Sequence[Tuned], cells: Sequence[Cell]) -> dict[str, str]:
    """Return why runs fail whose arm has no learning rate, since all tries of it failed."""
    without = {one.arm for one in tuned if one.best is None}
    reason = "none of the runs that try a learning rate for it came to an end"
    return {cell.name: reason for cell in cells if cell.arm in without}


def _compared(plan: Plan, out: Path, rates: Mapping[str, float | None]) -> list[Cell]:
    """Return the runs that are compared, seed by seed."""
    return [
        compared_cell(out, variant, seed, rates.get(variant.name))
        for seed in plan.seeds
        for variant in plan.variants
    ]


def _run_missing(
    cells: Sequence[Cell], jobs: int, waiting: Waiting, given: Data | None
) -> dict[str, str]:
    """Run those that have not come to their end, and return why some failed."""
    failed = {}
    for ended in run_cells([cell for cell in cells if not cell.finished], jobs, given):
        waiting.over(ended)
        if ended.error is not None:
            failed[ended.cell.name] = ended.error
    return failed


def _tuned(plan: Plan, arm: str, cells: Sequence[Cell]) -> Tuned:
    (given,) = (v.settings.training.learning_rate for v in plan.variants if v.name == arm)
    found: dict[float, list[Metrics | None]] = {}
    for cell in cells:
        if cell.rate:
            validation = judged_try(read_run(cell.folder)) if cell.finished else None
            found.setdefault(cell.rate, []).append(validation)
    return Tuned(arm, given, found)


def _edge(tuned: Tuned) -> str:
    tried = ", ".join(f"{rate:g}" for rate in tuned.tries)
    return (
        f"{tuned.arm}: the best learning rate, {tuned.best:g}, is at the edge of those tried "
        f"({tried}); a better one may lie beyond"
    )


def _luck(tuned: Sequence[Tuned]) -> list[str]:
    """Say for which arms seeds do not tell which learning rate is the best."""
    if not tuned:
        return []
    seeds = max(one.seeds for one in tuned)
    return [
        f"{plural(seeds, 'seed')} cannot tell which learning rate is the best for "
        f"{', '.join(one.arm for one in tuned)}: part of how far arms are apart may be the luck of "
        "that choice; more seeds for it (--tune-seeds) lessen it"
    ]


def _sizes(plan: Plan, tries: int) -> str:
    told = f"{plural(len(plan.variants), 'arm')} with {plural(len(plan.seeds), 'seed')}"
    return told + (f", and {tries} to choose learning rates" if tries else "")


def _with_devices(made: Comparison, devices: DeviceTime) -> Comparison:
    """Reckon how long each federation would take."""
    from polyrank.runs.flops import training_flops

    every = [one.run for one in made.done]

    def timed(one: Done) -> Done:
        if is_control(one.run, every):
            return one
        took = federated_seconds(one.run, one.cell.settings, devices, training_flops)
        return replace(one, federated=took)

    return replace(made, done=[timed(one) for one in made.done])


def _check_target(target: float | None, settings: Settings) -> None:
    most = math.inf if settings.model.options.get("task") == "causal-lm" else 1.0
    if target is not None and not (0 < target <= most and math.isfinite(target)):
        wanted = "an accuracy above 0, at most 1" if most == 1 else "a perplexity above 0"
        raise SettingsError(f"target: expected {wanted}, on validation rows, got {target:g}")


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Make the folder, and keep a second process from working there at the same time."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise RunFolderError(
            f"{folder}: expected a folder that can be made, got: {error.strerror}"
        ) from error
    with (folder / LOCK).open("w") as file:
        try:
            lock(file)
        except OSError as error:
            raise RunFolderError(f"{folder}: another process is at work here") from error
        yield


def _check_tuned_alike(folder: Path, tune: bool) -> None:
    """Check that a comparison that is there chose its learning rates in the same way."""
    path = folder / TABLE
    if not path.exists():
        _keep(folder, tune, {})
        return
    found = read_object(path, RunFolderError, "a comparison", LARGEST)
    check_format(found.get("format"), path, RunFolderError, found.get("polyrank"))
    if found.get("tune") is not tune:
        was = "with" if found.get("tune") else "without"
        raise RunFolderError(
            f"{folder}: was begun {was} tuning of learning rates; go on in the same way "
            "(--no-tune or not), or choose another folder (--out)"
        )


def _write(made: Comparison, tune: bool) -> None:
    _keep(made.folder, tune, made.as_json())
    write_page(made)


def _keep(folder: Path, tune: bool, found: Mapping[str, Any]) -> None:
    whole = {"format": FORMAT, "polyrank": VERSION, "tune": tune, **found}
    write_whole(folder / TABLE, json.dumps(whole, indent=1).encode())
