"""A client's trainer in a process of its own: started, asked, and started again if it dies.

What asks needs no torch. The process ends when the pipe to it does, whatever it is doing, so
that nothing is left behind by a parent that was killed.
"""

import queue
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeAlias

from polyrank.errors import MessageError, TrainingError
from polyrank.protocol.frames import read_frame, write_frame

Frame: TypeAlias = tuple[dict[str, Any], bytes]
LOOK = 0.1  # seconds between two looks at whether to stop


class TrainerApart:
    """The process of one client's trainer.

    Args:
        module: that is run; it reads frames and answers each.
        agreement: file of the client's ``Agreement``.
    """

    def __init__(self, module: str, agreement: Path) -> None:
        self._command = [sys.executable, "-m", module, str(agreement)]
        self._start()

    def _start(self) -> None:
        self._answers: queue.SimpleQueue[Frame | None] = queue.SimpleQueue()
        self.process = subprocess.Popen(
            self._command, stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        threading.Thread(target=self._listen, args=(self._answers,), daemon=True).start()

    def _listen(self, answers: "queue.SimpleQueue[Frame | None]") -> None:
        assert self.process.stdout is not None
        with suppress(MessageError, OSError, ValueError):
            while frame := read_frame(self.process.stdout):
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
        assert self.process.stdin is not None
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
        self.stop()
        code = self.process.returncode
        self._start()
        raise TrainingError(f"the trainer's process died (exit code {code}); it is started again")

    def stop(self) -> None:
        """End the process, which also ends one that has stopped responding."""
        self.process.kill()
        self.process.wait()
        for pipe in (self.process.stdin, self.process.stdout):
            with suppress(OSError):
                pipe and pipe.close()
