"""Refuse to import code that the run folder of somebody else names.

Settings name methods. Those of PolyRank's own are known; any other name, be it
``"package.module:attribute"`` or the entry point of an installed package, is imported and
called. In a settings file that is what was asked for. A run folder may have come from
elsewhere, so there it needs a person's word.
"""

import shlex
from pathlib import Path

from polyrank.datasets.load import DATASETS, kind_of
from polyrank.errors import RunFolderError
from polyrank.settings.schema import Settings


def own_code(settings: Settings) -> list[tuple[str, str]]:
    """Return the key and the name of all in settings that is not PolyRank's own.

    Torch-free; nothing is imported or called for it.
    """
    found = [(key, name) for key, table, name in settings.named_methods if name not in table.own]
    sources = settings.data.source
    for source in [sources] if isinstance(sources, str) else sources:
        if kind_of(source, settings.data.options) not in DATASETS.own:
            found.append(("data", source))
    return found


def built_for_a_model(settings: Settings) -> list[str]:
    """Return the keys whose methods are built, and so called, for the model of a run.

    Where its scaling depends on ranks, the aggregator says in which unit factors are kept, and the
    allocator whether its ranks may be above what a module can use.
    """
    return ["model", *(["allocator", "aggregator"] if settings.adapter.by_rank else [])]


def refuse_own_code(settings: Settings, folder: Path, command: str, *keys: str) -> None:
    """Refuse the settings of a run folder that name own code.

    Args:
        settings: in the folder.
        folder: of the run.
        command: what was to be done with it, such as ``"run --resume"``.
        keys: which names would be imported; all without any.

    Raises:
        RunFolderError: they do; the names are shown, and the command that allows them.
    """
    names = [f"{key} = {name!r}" for key, name in own_code(settings) if not keys or key in keys]
    if names:
        raise RunFolderError(
            f"{folder}: its config.toml names code that is not PolyRank's own, which would be "
            f"imported and called: {', '.join(names)}. If you trust who made this folder: "
            f"polyrank {command} {shlex.quote(str(folder))} --trust (from Python: trust=True)"
        )
