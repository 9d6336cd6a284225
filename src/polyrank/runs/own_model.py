"""A client's own model, as its host keeps it: what the run was, beside what training has left."""

from dataclasses import replace
from pathlib import Path

from polyrank.client_names import as_file_name
from polyrank.disk.checkpoint import ClientStore
from polyrank.disk.files import write_whole
from polyrank.disk.outside import as_written
from polyrank.errors import RunFolderError
from polyrank.protocol.setup import Setup
from polyrank.runs.base import whole_base
from polyrank.runs.trained_model import TrainedModel, sizes_and_names
from polyrank.settings.schema import Settings
from polyrank.settings.toml import make_settings

_SETUP = Path("setup") / "setup.safetensors"  # a folder: a store removes files that it knows not


def keep_setup(store: Path, setup: Setup, settings: Settings) -> None:
    """Keep what a run is, with the settings as this host follows them."""
    (store / _SETUP).parent.mkdir(parents=True, exist_ok=True)
    told = settings.model_dump(mode="json", exclude_none=True)
    write_whole(store / _SETUP, replace(setup, settings=told).pack())


def is_own(path: Path) -> bool:
    """Whether a folder is what a client's host keeps of a run."""
    return (path / _SETUP).is_file()


def settings_of(path: Path) -> Settings:
    """Return the settings of a run, from what a client's host keeps of it.

    Raises:
        RunFolderError: they are damaged.
    """
    return _read(path)[1]


def read_own(path: Path, client: str | None) -> TrainedModel:
    """Read the model that a client's last training has left on its host.

    Raises:
        RunFolderError: the folder is damaged, or the client has not trained.
    """
    if client is None:
        raise RunFolderError(
            f"{path}: a client's host keeps that client's own model: expected --client NAME; the "
            "global model is with the server and the admin"
        )
    setup, settings = _read(path)
    name = as_file_name(client)
    ends = (p.name.removeprefix(f"{name}.") for p in path.glob("*.safetensors"))
    rounds = [int(end) for text in ends if (end := text.removesuffix(".safetensors")).isdecimal()]
    if not rounds:
        raise RunFolderError(f"{path}: client {client!r} has not trained in any round here")
    last, store, about = max(rounds), ClientStore(path), setup.about
    with as_written(path):
        adapter, extras = store.load(client, last)
        change = store.load_base(last - 1) if (path / f"base.{last - 1}").exists() else {}
        base = whole_base(settings, setup.base, about)
        shape, classes, done, names, columns = sizes_and_names({**about, "round": last}, about)
        return TrainedModel(
            settings, base, adapter, extras, shape, classes, done, names, columns, change
        )


def _read(path: Path) -> tuple[Setup, Settings]:
    with as_written(path):
        setup = Setup.unpack((path / _SETUP).read_bytes())
        return setup, make_settings(setup.settings, f"{path}: the run's settings")
