"""Save and load tensors: written atomically, checked by a hash, and never unpickled."""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from polyrank.client_names import as_file_name
from polyrank.disk.files import write_whole
from polyrank.errors import RunFolderError
from polyrank.formats import FORMAT, VERSION, check_format
from polyrank.lora.alignment import aligned
from polyrank.lora.factors import Adapter, Factors, Tensors, flatten_adapter, unflatten_adapter


def save_tensors(path: Path, tensors: Tensors, header: Mapping[str, Any]) -> None:
    """Write named tensors and a JSON header as one safetensors file, with a hash of both.

    Beside them stand the format, which is checked first, and the version that wrote it.
    """
    contiguous = {n: t.detach().cpu().contiguous() for n, t in tensors.items()}
    told = {"format": FORMAT, "polyrank": VERSION, "header": header}
    whole = {**told, "hash": hash_of(contiguous, json.dumps(told))}
    write_whole(path, save(contiguous, {"polyrank": json.dumps(whole)}))


def load_tensors(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Read what ``save_tensors`` wrote.

    Raises:
        RunFolderError: the file is missing, of another format, cut short, not ours, or holds
            something else than what was written.
    """
    try:
        with safe_open(path, framework="pt") as file:
            told = json.loads((file.metadata() or {})["polyrank"])
            known = told if isinstance(told, dict) else {}  # a list before there were formats
            check_format(known.get("format"), path, RunFolderError, known.get("polyrank"))
            expected, header = told.pop("hash"), told["header"]
            tensors = {n: aligned(file.get_tensor(n)) for n in file.keys()}  # noqa: SIM118
    except OSError as error:
        raise RunFolderError(f"{path}: cannot be read: {error}") from error
    except (SafetensorError, KeyError, TypeError, ValueError, RecursionError) as error:
        raise RunFolderError(f"{path}: damaged, or not written by PolyRank: {error}") from error
    found = hash_of(tensors, json.dumps(told))
    if found != expected:
        raise RunFolderError(f"{path}: damaged: expected contents of hash {expected}, got {found}")
    return tensors, header


def hash_of(tensors: Tensors, text: str = "") -> str:
    """Return a hash of names, types, shapes and numbers, whatever their order, and of a text."""
    digest = hashlib.blake2b(text.encode(), digest_size=16)
    for name, tensor in sorted(tensors.items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\0".encode())
        digest.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().data)
    return digest.hexdigest()


def join_model(adapter: Adapter, extras: Tensors) -> dict[str, Tensor]:
    """Name an adapter's and the extras' tensors so that they can share a file."""
    return flatten_adapter(adapter, "adapter") | {f"extras/{n}": t for n, t in extras.items()}


def split_model(tensors: Tensors) -> tuple[dict[str, Factors], dict[str, Tensor]]:
    """Undo ``join_model``."""
    start = "extras/"
    extras = {n.removeprefix(start): t for n, t in tensors.items() if n.startswith(start)}
    return unflatten_adapter(tensors, "adapter"), extras


class ClientStore:
    """What each client keeps on its own disk: the model its last training left, and its base.

    Clients whose base has the same version share its file. A file carries the round or the
    version in its name and is never overwritten, so that a round that is interrupted and
    repeated finds what the round before left.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def save(
        self,
        client: str,
        round: int,
        adapter: Adapter,
        extras: Tensors,
        owed: Adapter = MappingProxyType({}),
        held: Adapter = MappingProxyType({}),
    ) -> None:
        """Keep a client's model of a round, what it has not sent of it, and what it was sent."""
        self.folder.mkdir(parents=True, exist_ok=True)
        tensors = join_model(adapter, extras)
        tensors |= flatten_adapter(owed, "owed") | flatten_adapter(held, "held")
        save_tensors(self._path(client, round), tensors, {})

    def load(self, client: str, round: int) -> tuple[dict[str, Factors], dict[str, Tensor]]:
        """Return a client's adapter and extras of a round."""
        return split_model(load_tensors(self._path(client, round))[0])

    def load_kept(
        self, client: str, round: int, what: Literal["owed", "held"]
    ) -> dict[str, Factors]:
        """Return what a client had not sent after a round (owed), or was sent in it (held)."""
        return unflatten_adapter(load_tensors(self._path(client, round))[0], what)

    def save_base(self, version: int, totals: Tensors) -> None:
        """Keep what has been added to the base, unless some client has kept that version."""
        self.folder.mkdir(parents=True, exist_ok=True)
        if not self._base_path(version).exists():
            save_tensors(self._base_path(version), totals, {})

    def load_base(self, version: int) -> dict[str, Tensor]:
        """Return what has been added to the base up to a version."""
        return load_tensors(self._base_path(version))[0]

    def keep_only(self, *trained: Mapping[str, int]) -> None:
        """Remove every file but those that some states need.

        A client that trained in a round has the base of the round before.

        Args:
            trained: of each state, client -> the last finished round in which it trained.
        """
        needed = [place for state in trained for place in state.items()]
        wanted = {self._path(client, round).name for client, round in needed}
        wanted |= {self._base_path(round - 1).name for _, round in needed}
        if self.folder.is_dir():
            for path in self.folder.iterdir():
                if path.name not in wanted and not path.is_dir():
                    path.unlink()

    def _base_path(self, version: int) -> Path:
        return self.folder / f"base.{version}"

    def _path(self, client: str, round: int) -> Path:
        return self.folder / f"{as_file_name(client)}.{round}.safetensors"
