"""The part of a job that runs on the server's host, and the commands that an admin may give it."""

import gc
import json
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from nvflare.apis.client import Client
from nvflare.apis.controller_spec import ClientTask, Task, TaskCompletionStatus
from nvflare.apis.event_type import EventType
from nvflare.apis.fl_context import FLContext
from nvflare.apis.impl.controller import Controller
from nvflare.apis.shareable import Shareable
from nvflare.apis.signal import Signal

from polyrank.engines.nvflare.mirror import listing, read_block
from polyrank.engines.nvflare.parcels import PLACE, REQUEST, TASK, parcel, read_parcel
from polyrank.engines.nvflare.request import Request
from polyrank.engines.nvflare.sender import Reply
from polyrank.errors import MessageError

COMMAND = "polyrank"  # topic of the admin's commands
LOST = "its host is lost"
FAREWELL = 60.0  # seconds that the end of a run is kept for an admin who does not ask


class RunController(Controller):  # type: ignore[misc] # NVFlare has no types
    """Runs a federation on the server's host, and reaches the hosts of its clients."""

    def __init__(self) -> None:
        super().__init__(task_check_period=0.02)
        self._farewell = threading.Event()
        self._served: Any = None
        self._hosts: dict[str, str] = {}
        self._busy: set[str] = set()  # hosts with a task that was given up

    def start_controller(self, fl_ctx: FLContext) -> None:
        """Listen to the admin's commands."""
        fl_ctx.get_engine().register_app_command(COMMAND, self._command)

    def stop_controller(self, fl_ctx: FLContext) -> None:
        """Do nothing: all ends with the control flow."""

    def control_flow(self, abort_signal: Signal, fl_ctx: FLContext) -> None:
        """Run the federation, then wait until the admin has read how it ended."""
        from polyrank.engines.nvflare.serving import Served  # imports torch

        engine = fl_ctx.get_engine()
        workspace = engine.get_workspace()
        place = _read(Path(workspace.get_site_config_dir()) / PLACE)
        config = Path(workspace.get_app_dir(fl_ctx.get_job_id())) / "config"
        request = Request(**_read(config / REQUEST))
        self._hosts, self._context, self._engine = dict(request.clients), fl_ctx, engine
        self._abort = abort_signal
        self._served = Served(request, Path(place["runs"]), self)
        self._served.perform()
        end = time.monotonic() + FAREWELL
        while time.monotonic() < end and not abort_signal.triggered:
            if self._farewell.wait(0.1):
                return

    def post(
        self,
        client: str,
        told: Mapping[str, Any],
        data: bytes,
        answered: Callable[[Reply], None],
    ) -> Callable[[], None]:
        """Send a message to the host of a client."""
        host = self._hosts[client]
        once = _Once(answered)

        def received(client_task: ClientTask, fl_ctx: FLContext) -> None:
            result, client_task.result = client_task.result, None
            once.answer(_reply(result))

        def done(task: Task, fl_ctx: FLContext) -> None:
            dead = task.completion_status == TaskCompletionStatus.CLIENT_DEAD
            once.answer(Reply(lost=LOST if dead else f"no answer: {task.completion_status}"))
            task.data = None
            gc.collect()

        task = Task(TASK, parcel(told, data), result_received_cb=received, task_done_cb=done)
        self.send(task, self._context, targets=[host])

        def cancel() -> None:
            self._busy.add(host)
            self.cancel_task(task)

        return cancel

    def fault(self, client: str) -> str | None:
        """Return why a client cannot be sent anything now, None if it can."""
        host = self._hosts[client]
        if self._abort.triggered:
            return "the job was aborted"
        if self.get_client_disconnect_time(host):
            return LOST
        if host not in {known.name for known in self._engine.get_clients()}:
            return "its host is not connected"
        return "still at work on an earlier task" if host in self._busy else None

    def handle_event(self, event_type: str, fl_ctx: FLContext) -> None:
        """Notice hosts that ask for a task: they are at work on none."""
        if event_type == EventType.BEFORE_PROCESS_TASK_REQUEST and self._busy:
            peer = fl_ctx.get_peer_context()
            self._busy.discard(peer.get_identity_name() if peer else "")

    def process_result_of_unknown_task(
        self,
        client: Client,
        task_name: str,
        client_task_id: str,
        result: Shareable,
        fl_ctx: FLContext,
    ) -> None:
        """Drop an answer that comes too late."""

    def _command(self, topic: str, told: object, fl_ctx: FLContext) -> dict[str, Any]:
        """Do what the admin asks."""
        asked = told if isinstance(told, dict) else {}
        served = self._served
        match asked.get("do"):
            case "follow" if served:
                outcome = dict(served.events.outcome)  # before the events, which end with it
                events = served.events.since(int(asked.get("from", 0)))
                return {"events": events, "files": listing(served.folder), "outcome": outcome}
            case "read" if served:
                start = int(asked.get("start", 0))
                return {"data": read_block(served.folder, str(asked.get("file")), start)}
            case "pause" if served:
                served.pause.ask()
            case "bye":
                self._farewell.set()
        return {}


class _Once:
    """Passes on the first answer only."""

    def __init__(self, answered: Callable[[Reply], None]) -> None:
        self._answered, self._lock = answered, threading.Lock()
        self._done = False

    def answer(self, reply: Reply) -> None:
        with self._lock:
            done, self._done = self._done, True
        if not done:
            self._answered(reply)


def _reply(result: object) -> Reply:
    try:
        if not isinstance(result, Shareable):
            raise MessageError(f"expected a message, got {type(result).__name__}")
        return Reply(*read_parcel(result))
    except MessageError as error:
        return Reply(lost=str(error))


def _read(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(path.read_bytes())
    return found
