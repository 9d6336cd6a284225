"""A client's trainer in a process of its own: started, asked, and started again if it dies.

What asks needs no torch. The process ends when the pipe to it does, whatever it is doing, so
that nothing is left behind by a parent that was killed.
"""

import queue
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeAlias

from polyrank.client.agreement import Agreement
from polyrank.client.warm_start import WarmStart, WarmTrainer
from polyrank.errors import MessageError, TrainingError
from polyrank.protocol.frames import read_frame, write_frame

Frame: TypeAlias = tuple[dict[str, Any], bytes]
LOOK = 0.1  # seconds between two looks at whether to stop


class TrainerApart:
    """The process of one client's trainer.

    Args:
        agreement: file of the client's ``Agreement``, which may name a process to start from.
    """

    def __init__(self, agreement: Path) -> None:
        self._agreement = agreement
        self._own: WarmStart | None = None  # where the host's is not there any more
        self._start()

    def _start(self) -> None:
        self._answers: queue.SimpleQueue[Frame | None] = queue.SimpleQueue()
        self.process = self._started()
        threading.Thread(
            target=self._listen, args=(self.process, self._answers), daemon=True
        ).start()

    def _started(self) -> WarmTrainer:
        for path in (self._own and self._own.path, Agreement.read(self._agreement).warm):
            with suppress(OSError):
                if path:
                    return WarmTrainer(path, self._agreement)
        self._own = WarmStart()
        return WarmTrainer(self._own.path, self._agreement)

    def _listen(self, process: WarmTrainer, answers: "queue.SimpleQueue[Frame | None]") -> None:
        with suppress(MessageError, OSError, ValueError):
            while frame := read_frame(process.stdout):
                answers.put(frame)
        answers.put(None)

    def ask(self, told: Mapping[str, Any], data: bytes, stopped: Callable[[], bool]) -> Frame:
        """Send a message and return the answer to it.

        Args:
            told: the message.
            data: its bytes.
            stopped: whether to wait no more.

        Raises:
            TrainingError: the process died, and a new one was started; or it was stopped.
        """
        try:
            write_frame(self.process.stdin, told, data)
        except OSError:
            return self._lost()
        while not stopped():
            with suppress(queue.Empty):
                answer = self._answers.get(timeout=LOOK)
                return answer or self._lost()
        raise TrainingError("the run was stopped")

    def _lost(self) -> Frame:
        code = self.process.stop()
        self._start()
        raise TrainingError(f"the trainer's process died (exit code {code}); it is started again")

    def stop(self) -> None:
        """End the process, which also ends one that has stopped responding."""
        self.process.stop()
        if self._own:
            self._own.close()
