"""End a job between two rounds, so that another one goes on from the saved state."""

import threading


class Paused(Exception):
    """The job ends here, with its last round saved."""


class Pause:
    """A wish to end the job at the next boundary of a round."""

    def __init__(self) -> None:
        self._wanted = threading.Event()

    def ask(self) -> None:
        """Wish it, from any thread."""
        self._wanted.set()

    def check(self) -> None:
        """Raise Paused if it is wished."""
        if self._wanted.is_set():
            raise Paused
