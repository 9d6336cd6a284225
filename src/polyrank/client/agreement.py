"""What a client's host is told by its owner: whose data, where they are, what may be asked.

Torch-free: it is read before anything slow is imported.
"""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from polyrank.disk.files import write_whole
from polyrank.disk.outside import read_object
from polyrank.errors import FederationError


@dataclass(frozen=True)
class Agreement:
    """What the owner of one client's data has set for its host.

    Args:
        client: its name in the federation.
        store: folder for what it keeps of a run, such as its own model.
        device: where it trains; None as the run's settings say.
    """

    client: str
    store: str
    device: str | None = None

    def write(self, path: Path) -> None:
        """Write it for the processes of the host, readable by its owner only."""
        write_whole(path, json.dumps(asdict(self), indent=2).encode())
        path.chmod(0o600)

    @classmethod
    def read(cls, path: Path) -> "Agreement":
        """Read what ``write`` wrote.

        Raises:
            FederationError: it is not there, or not of this form.
        """
        told: dict[str, Any] = read_object(path, FederationError, path.name)
        try:
            return cls(**told)
        except TypeError as error:
            raise FederationError(f"{path}: not written by this version: {error}") from error
