"""Where the time of a run goes."""

import time


class Stopwatch:
    """Puts every second since it was made into exactly one part."""

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
