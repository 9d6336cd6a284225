"""The same settings with several seeds, and the controls beside each, in one folder.

A set that was interrupted goes on where it stopped: what is finished is left as it is.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from polyrank import api
from polyrank.console.progress import Silent, Watcher
from polyrank.errors import RunFolderError, SettingsError
from polyrank.record.run_folder import RunFolder
from polyrank.settings.controls import CONTROLS, control
from polyrank.settings.schema import Settings
from polyrank.settings.toml import changed_keys

NO_MATTER = frozenset({"workers", "task_timeout", "device", "trackers"})  # to what a run comes to


@dataclass(frozen=True)
class Planned:
    """A run of a set: the seed, the arm that it belongs to, and its settings."""

    seed: int
    arm: str
    settings: Settings

    @property
    def folder(self) -> str:
        """The name of its folder within that of the set."""
        return f"{self.settings.name}-seed-{self.seed}"


def planned(settings: Settings, seeds: Sequence[int], *, controls: bool) -> list[Planned]:
    """Return the runs of a set, seed by seed: the settings' own, then its controls.

    Raises:
        SettingsError: no seed, one that is given twice, or settings that have no such control.
    """
    if not seeds or len({*seeds}) < len(seeds):
        raise SettingsError(f"seeds: expected at least one, each once, got {[*seeds]}")
    return [run for seed in seeds for run in _of_seed(settings, seed, controls)]


def run_set(runs: Sequence[Planned], out: str | Path, watcher: Watcher | None = None) -> list[Path]:
    """Run all of a set, each in a folder of its own below ``out``, and return the folders.

    Raises:
        RunFolderError: a folder holds a run of other settings.
        PolyRankError: a run failed; those before it stay, and the set can go on.
    """
    watcher = watcher or Silent()
    for number, run in enumerate(runs, 1):
        watcher.note(f"run {number} of {len(runs)}: {run.folder}")
        _finish(Path(out) / run.folder, run.settings, watcher)
    return [Path(out) / run.folder for run in runs]


def _of_seed(settings: Settings, seed: int, controls: bool) -> Iterator[Planned]:
    own = settings.model_copy(update={"seed": seed})
    for arm in ("", *(CONTROLS if controls else ())):
        made = control(own, arm) if arm else own
        yield Planned(seed, arm or settings.name, made)


def _finish(path: Path, settings: Settings, watcher: Watcher) -> None:
    folder = RunFolder(path)
    if not (path / "config.toml").exists() or folder.last_state() is None:
        api.run(settings, out=path, watcher=watcher)
        return
    changed = [k for k in changed_keys(folder.settings, settings) if k not in NO_MATTER]
    if changed:
        raise RunFolderError(
            f"{path}: expected a run of these settings, got one with other {', '.join(changed)}; "
            "choose another --out"
        )
    if folder.finished:
        watcher.note(f"{path}: already finished")
    else:
        api.resume(path, watcher=watcher, trust=True)  # its settings are the caller's own
