"""Keep the newest state of a run, and the one before it in case the newest is damaged."""

import json
from collections.abc import Callable, Mapping
from typing import Any

from torch import Tensor

from polyrank.disk.checkpoint import load_tensors, save_tensors
from polyrank.disk.outside import as_written
from polyrank.errors import PolyRankError, RunFolderError
from polyrank.formats import version_warning, versions
from polyrank.record.run_folder import RunFolder
from polyrank.settings.schema import CHANGEABLE_ON_RESUME, Settings
from polyrank.settings.toml import changed_keys, make_settings


def lasting(settings: Settings) -> dict[str, Any]:
    """Return the settings that a run keeps to its end, as JSON holds them, in one order."""
    kept = settings.model_dump(mode="json", exclude=set(CHANGEABLE_ON_RESUME))
    ordered: dict[str, Any] = json.loads(json.dumps(kept, sort_keys=True))  # as TOML has another
    return ordered


def keep_state(
    folder: RunFolder, round: int, tensors: Mapping[str, Tensor], header: Mapping[str, Any]
) -> None:
    """Write the state after a round, read it back, and only then forget all but it and the last.

    Raises:
        RunFolderError: the disk is full, or does not give back what was written.
    """
    save_tensors(folder.state_path(round), tensors, {**header, "versions": dict(versions())})
    load_tensors(folder.state_path(round))
    folder.forget_states_before(round - 1)


def newest_whole(
    folder: RunFolder, tell: Callable[[str], None]
) -> tuple[dict[str, Tensor], dict[str, Any]] | None:
    """Return the newest state that is not damaged; None if no state was saved.

    Args:
        folder: of the run.
        tell: is told of a damaged one that is left out, and of other versions that wrote it.

    Raises:
        RunFolderError: there are states, and none is whole.
    """
    damaged: list[RunFolderError] = []
    for path in folder.states():
        try:
            found = load_tensors(path)
        except RunFolderError as error:
            damaged.append(error)
            continue
        with as_written(path):
            if damaged:
                tell(f"{damaged[0]}; going on from round {found[1]['round']}")
            if said := version_warning(found[1]["versions"]):
                tell(f"{path}: {said}")
        return found
    if damaged:
        raise RunFolderError(f"{damaged[0]}; there is no earlier state that is whole")
    return None


def check_settings(folder: RunFolder, settings: Settings, kept: Mapping[str, Any]) -> None:
    """Compare a run's settings with those that it began with.

    Raises:
        RunFolderError: naming what was changed in ``config.toml``.
    """
    try:
        began = make_settings({**kept, **settings.model_dump(include=set(CHANGEABLE_ON_RESUME))})
    except PolyRankError as error:
        raise RunFolderError(f"{folder.path}: settings of another version: {error}") from error
    changed = changed_keys(began, settings)
    if changed:
        raise RunFolderError(
            f"{folder.path / 'config.toml'}: expected what the run began with, got another "
            f"{', '.join(changed)}; put it back, or start a new run"
        )
