"""What a client's host is told by its owner: whose data, where they are, what may be asked.

Torch-free: it is read before anything slow is imported.
"""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from polyrank.client.telling import EVERYTHING
from polyrank.disk.files import write_whole
from polyrank.disk.outside import read_object
from polyrank.errors import FederationError, SettingsError, nearest


@dataclass(frozen=True)
class Agreement:
    """What the owner of one client's data has set for its host; stricter than any run may be.

    Args:
        client: its name in the federation.
        store: folder for what it keeps of a run, such as its own model.
        data: its own file; None for its share of the data that the run's settings name.
        secret: seeds the noise on what it tells; None draws it from the run's seed.
        tells: what of its profile it tells, as far as a run asks for it.
        device: where it trains; None as the run's settings say.
        model: folder of the pre-trained model; None as the run's settings say.
        cap: the largest rank that it trains in any module; None for any.
        least_rows: the fewest training rows with which it takes part.
        criteria: those that it measures; None for any.
        head_sums: whether it sums up features for a starting head.
        rows: how many rows its file has, if it was read.
        megabytes: the most that base and adapter may need in memory; None for any.
        warm: socket of a process from which trainers start at once; None where there is none.
    """

    client: str
    store: str
    data: str | None = None
    secret: int | None = None
    tells: tuple[str, ...] = tuple(sorted(EVERYTHING))
    device: str | None = None
    model: str | None = None
    cap: int | None = None
    least_rows: int = 1
    criteria: tuple[str, ...] | None = None
    head_sums: bool = True
    rows: int | None = None
    megabytes: int | None = None
    warm: str | None = None

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
            lists = {name: tuple(v) for name, v in told.items() if isinstance(v, list)}
            return cls(**{**told, **lists})
        except TypeError as error:
            raise FederationError(f"{path}: not written by this version: {error}") from error


def names_in(text: str, option: str, known: Sequence[str] = ()) -> tuple[str, ...]:
    """Return the names in ``"a,b"``, none for ``"none"``.

    Raises:
        SettingsError: one is not known.
    """
    names = () if text == "none" else tuple(part.strip() for part in text.split(","))
    for name in names:
        if known and name not in known:
            raise SettingsError(
                f"{option} {name!r}: expected none or some of {', '.join(known)}"
                f"{nearest(name, known)}"
            )
    return names
