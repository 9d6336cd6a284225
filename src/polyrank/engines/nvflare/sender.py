"""What the engine needs of a running job: to send a message to a client's host. Torch-free."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol


@dataclass(frozen=True)
class Reply:
    """What came back from a client's host: a message and bytes, or why there is none."""

    told: Mapping[str, Any] = field(default_factory=dict)
    data: bytes = b""
    lost: str = ""


class Sender(Protocol):
    """Reaches the hosts of a running job."""

    def post(
        self, client: str, told: Mapping[str, Any], data: bytes, answered: Callable[[Reply], None]
    ) -> Callable[[], None]:
        """Send a message; ``answered`` is called once, from any thread. Returns what cancels it."""

    def fault(self, client: str) -> str | None:
        """Return why a client cannot be sent anything now, None if it can."""

    def stopped(self) -> bool:
        """Whether the job is to end at once."""

    def lost(self, client: str) -> bool:
        """Whether the host of a client takes no part in the job, or no more."""
