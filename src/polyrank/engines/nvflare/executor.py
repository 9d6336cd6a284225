"""The part of a job that runs on a client's host: hands each task to the trainer's process."""

from pathlib import Path
from typing import Any

from nvflare.apis.event_type import EventType
from nvflare.apis.executor import Executor
from nvflare.apis.fl_context import FLContext
from nvflare.apis.shareable import Shareable
from nvflare.apis.signal import Signal

from polyrank.client.agreement import Agreement
from polyrank.client.apart import TrainerApart
from polyrank.engines.nvflare.parcels import AGREEMENT, parcel, read_parcel
from polyrank.errors import PolyRankError, TrainingError
from polyrank.formats import versions


class SiteExecutor(Executor):  # type: ignore[misc] # NVFlare has no types
    """Answers what the server asks; lives as long as the job, and its trainer with it.

    Args:
        trains: whether the job is a run; else it only asks who is there.
    """

    def __init__(self, trains: bool = True) -> None:
        super().__init__()
        self._trains = trains
        self._trainer: TrainerApart | None = None
        self._setup: tuple[dict[str, Any], bytes] | None = None
        self._process: object = None  # that has had the setup

    def handle_event(self, event_type: str, fl_ctx: FLContext) -> None:
        """Start the trainer with the job, so that it is ready when the first task comes."""
        if event_type == EventType.START_RUN:
            folder = fl_ctx.get_engine().get_workspace().get_site_config_dir()
            self._agreement = Path(folder) / AGREEMENT
            if self._trains:
                self._trainer = TrainerApart(self._agreement)
        elif event_type == EventType.END_RUN and self._trainer:
            self._trainer.stop()

    def execute(
        self, task_name: str, shareable: Shareable, fl_ctx: FLContext, abort_signal: Signal
    ) -> Shareable:
        """Return the answer to one message; whatever goes wrong is an answer, too."""
        try:
            message, data = read_parcel(shareable)
            if message["kind"] == "hello":
                return parcel(self._hello())
            return parcel(*self._ask(message, data, abort_signal))
        except PolyRankError as error:
            return parcel({"kind": "failed", "reason": f"{type(error).__name__}: {error}"})

    def _hello(self) -> dict[str, Any]:
        agreement = Agreement.read(self._agreement)
        rows = agreement.rows if "examples" in agreement.tells else None
        told = {"versions": dict(versions()), "rows": rows, "device": agreement.device}
        return {"kind": "hello", **told}

    def _ask(
        self, message: dict[str, Any], data: bytes, abort_signal: Signal
    ) -> tuple[dict[str, Any], bytes]:
        trainer = self._trainer
        if trainer is None:
            raise TrainingError("a task came before the job had begun")

        def stopped() -> bool:
            return bool(abort_signal.triggered)

        if message["kind"] == "setup":
            self._setup = message, data
        elif self._setup and self._process is not trainer.process:  # it was started again
            answer = trainer.ask(*self._setup, stopped)
            if answer[0].get("kind") != "ready":
                return answer
        answer = trainer.ask(message, data, stopped)
        self._process = trainer.process
        return answer
