"""Where the time of a run goes."""

import time
from collections.abc import Mapping


class Stopwatch:
    """Puts every second since it was made into exactly one part."""

    def __init__(self) -> None:
        self._last = time.perf_counter()
        self._spent: dict[str, float] = {}

    def lap(self, part: str, inside: Mapping[str, float] | None = None) -> None:
        """Count the time since the last lap as a part of the work.

        Args:
            part: its name.
            inside: seconds of other parts that were within this time.
        """
        now = time.perf_counter()
        spent, self._last = now - self._last, now
        for name, seconds in (inside or {}).items():
            self._spent[name] = self._spent.get(name, 0.0) + seconds
            spent -= seconds
        self._spent[part] = self._spent.get(part, 0.0) + spent

    def take(self) -> dict[str, float]:
        """Return the seconds of each part since this was last asked."""
        spent, self._spent = self._spent, {}
        return spent
