"""The admin's copy of a run folder that grows on the server's host."""

import base64
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from polyrank.disk.files import write_whole
from polyrank.errors import FederationError
from polyrank.record.run_folder import MADE

BLOCK = 2**20  # bytes of a file that are sent at once
_RECORD = re.compile(r"(rounds|clients|timings)\.jsonl")
_KNOWN = re.compile(
    r"(rounds|clients|timings)\.jsonl|summary\.json|report\.html"
    rf"|checkpoint/(round-\d{{6}}|base|start|{'|'.join(MADE)})\.safetensors"
)


def listing(folder: Path) -> dict[str, int]:
    """Return the files of a run that an admin may have, and their sizes."""
    found = [*folder.glob("*"), *(folder / "checkpoint").glob("*")]
    names = {path.relative_to(folder).as_posix(): path for path in found if path.is_file()}
    return {name: path.stat().st_size for name, path in names.items() if _KNOWN.fullmatch(name)}


def read_block(folder: Path, name: str, start: int) -> str:
    """Return a block of one of these files, in base 64; "" at its end.

    Raises:
        FederationError: it is none of them.
    """
    if not _KNOWN.fullmatch(name):
        raise FederationError(f"{name!r}: expected a file of a run")
    with (folder / name).open("rb") as file:
        file.seek(start)
        return base64.b64encode(file.read(BLOCK)).decode()


class Mirror:
    """Copies the files of a run as they grow.

    Args:
        folder: where the copy is.
        ask: sends the job a command and returns its answer.
    """

    def __init__(
        self, folder: Path, ask: Callable[[str, Mapping[str, Any]], Mapping[str, Any]]
    ) -> None:
        self.folder, self._ask = folder, ask
        self._records: dict[str, int] = {}

    def copy_records(self, files: Mapping[str, Any]) -> None:
        """Copy what is new of the records; one that was cut is copied anew."""
        for name, size in files.items():
            if _RECORD.fullmatch(name) and size != self._records.get(name):
                self._copy(name)
                self._records[name] = size

    def copy_all(self, files: Mapping[str, Any]) -> None:
        """Copy every file, and remove states that are no longer there."""
        (self.folder / "checkpoint").mkdir(parents=True, exist_ok=True)
        for name in files:
            if _KNOWN.fullmatch(name):
                self._copy(name)
        for path in (self.folder / "checkpoint").glob("round-*.safetensors"):
            if f"checkpoint/{path.name}" not in files:
                path.unlink()

    def _copy(self, name: str) -> None:
        data = b""
        while block := self._ask("read", {"file": name, "start": len(data)}).get("data"):
            data += base64.b64decode(block, validate=True)
        write_whole(self.folder / name, data)
