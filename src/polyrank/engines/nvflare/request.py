"""What an admin wants of a job, as it stands in the job's folder."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Request:
    """A run, to be started or gone on with.

    Args:
        run: the run's own name, which no other has; a folder of the server is named after it.
        settings: of the run, as a settings file holds them.
        clients: client -> the host that it is on.
        there: the hosts that are connected.
        split: the settings' data are split over the clients; else each has data of its own.
        hello: only ask the hosts who they are.
    """

    run: str
    settings: Mapping[str, Any]
    clients: Mapping[str, str]
    there: Sequence[str] = ()
    split: bool = False
    hello: bool = False
