"""What a run folder holds of a run before it goes on: the last state, its base, its start."""

from dataclasses import dataclass
from typing import Any

from torch import Tensor

from polyrank.console.progress import Watcher
from polyrank.disk.checkpoint import join_model, load_tensors, save_tensors, split_model
from polyrank.disk.outside import as_written
from polyrank.lora.factors import Adapter, Tensors
from polyrank.record.kept_states import check_settings, newest_whole
from polyrank.record.run_folder import RunFolder
from polyrank.runs.base import kept_part, whole_base
from polyrank.runs.preparation import ServerSide
from polyrank.settings.schema import Settings


@dataclass(frozen=True)
class Opened:
    """What was found in a run folder.

    Args:
        state: tensors and header of the newest whole state, None in a new folder.
        base: the frozen base; None if it is not made yet.
        start: the adapter that the run began with, if it did not begin with new factors.
        drawn: names of a pre-trained model's weights that nothing has given a value but the seed;
            None if the base is not made yet.
    """

    state: tuple[dict[str, Tensor], dict[str, Any]] | None = None
    base: Tensors | None = None
    start: Adapter | None = None
    drawn: tuple[str, ...] | None = None


def open_run(folder: RunFolder, settings: Settings, watcher: Watcher) -> Opened:
    """Read what a run folder holds; of a new one, nothing.

    Raises:
        RunFolderError: it is damaged, or its settings were changed on the disk.
    """
    state = newest_whole(folder, watcher.note)
    if state:
        with as_written(folder.path):
            check_settings(folder, settings, state[1]["settings"])
    path = folder.checkpoint / "start.safetensors"
    start = split_model(load_tensors(path)[0])[0] if path.exists() else None
    path = folder.checkpoint / "base.safetensors"
    if not path.exists():
        return Opened(state, start=start)
    kept, header = load_tensors(path)
    base = whole_base(settings, kept, header) if header else None
    return Opened(state, base, start, tuple(header["drawn"]) if header else None)


def keep_base(folder: RunFolder, settings: Settings, side: ServerSide) -> None:
    """Keep the base, or what is new of a public one, and the adapter that the run begins with."""
    model = side.blueprint
    if model.start:
        path = folder.checkpoint / "start.safetensors"
        save_tensors(path, join_model(model.start, {}), {})
    save_tensors(folder.checkpoint / "base.safetensors", *base_to_keep(settings, side))


def base_to_keep(settings: Settings, side: ServerSide) -> tuple[Tensors, dict[str, Any]]:
    """Return what ``whole_base`` makes the base of again: tensors, and what is told of them."""
    model = side.blueprint
    new, about = kept_part(settings, model.base, model.classes)
    told = {
        "input_shape": model.input_shape,
        "classes": model.classes,
        "drawn": list(side.drawn),
    }
    return new, {**told, **about}
