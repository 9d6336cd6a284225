"""Measure how the time of a run divides into parts."""

import time


class Stopwatch:
    """Counts every second since it was made as exactly one part of the work."""

    def __init__(self) -> None:
        self._last = time.perf_counter()
        self._spent: dict[str, float] = {}

    def lap(self, part: str) -> float:
        """Count the time since the last lap as a part of the work, and return its seconds."""
        now = time.perf_counter()
        spent, self._last = now - self._last, now
        self._spent[part] = self._spent.get(part, 0.0) + spent
        return spent

    def take(self) -> dict[str, float]:
        """Return the seconds of each part since this was last asked."""
        spent, self._spent = self._spent, {}
        return spent
