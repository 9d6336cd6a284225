"""The part of a job that runs on the server's host, and the commands that an admin may give it."""

import gc
import json
import threading
import time
from collections.abc import Callable, Mapping
from functools import partial
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
LOST = "its host is not connected"
SILENT = 15.0  # seconds after which a host that is not heard of counts as lost
STARTING = 30.0  # seconds more at the start, in which jobs begin on the hosts
FAREWELL = 60.0  # seconds that the end of a run is kept for an admin who does not ask
TIDY = 2**26  # bytes that may travel before the memory that they were in is looked for


class RunController(Controller):  # type: ignore[misc] # NVFlare has no types
    """Runs a federation on the server's host, and reaches the hosts of its clients."""

    def __init__(self) -> None:
        super().__init__(task_check_period=0.02)
        self._farewell = threading.Event()
        self._served: Any = None
        self._hosts: dict[str, str] = {}
        self._hellos: dict[str, dict[str, Any]] = {}
        self._heard: dict[str, float] = {}  # host -> when its part of the job was last heard of
        self._busy: set[str] = set()  # hosts with a task that was given up
        self._travelled = 0  # bytes since memory was last tidied

    def start_controller(self, fl_ctx: FLContext) -> None:
        """Listen to the admin's commands."""
        fl_ctx.get_engine().register_app_command(COMMAND, self._command)

    def stop_controller(self, fl_ctx: FLContext) -> None:
        """Do nothing: all ends with the control flow."""

    def set_communicator(self, communicator: Any) -> None:  # noqa: ANN401 - NVFlare's
        """Note whenever NVFlare hears of the job on a client's host."""
        super().set_communicator(communicator)
        pass_on = communicator.client_is_active

        def noted(host: str, reason: str, fl_ctx: FLContext) -> None:
            self._heard[host] = time.monotonic()
            pass_on(host, reason, fl_ctx)

        communicator.client_is_active = noted

    def control_flow(self, abort_signal: Signal, fl_ctx: FLContext) -> None:
        """Run the federation, then wait until the admin has read how it ended."""
        engine = fl_ctx.get_engine()
        workspace = engine.get_workspace()
        place = _read(Path(workspace.get_site_config_dir()) / PLACE)
        config = Path(workspace.get_app_dir(fl_ctx.get_job_id())) / "config"
        request = Request(**_read(config / REQUEST))
        self._begun = time.monotonic() if request.hello else time.monotonic() + STARTING
        self._hosts, self._there = dict(request.clients), frozenset(request.there)
        self._context = fl_ctx
        self._abort = abort_signal
        if request.hello:
            self._ask_all()
        else:
            from polyrank.engines.nvflare.serving import Served  # imports torch

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
            reply = _reply(result)
            self._travelled += len(reply.data)
            once.answer(reply)

        def done(task: Task, fl_ctx: FLContext) -> None:
            dead = task.completion_status == TaskCompletionStatus.CLIENT_DEAD
            once.answer(Reply(lost=LOST if dead else f"no answer: {task.completion_status}"))
            task.data = None
            self._tidy(len(data))

        task = Task(TASK, parcel(told, data), result_received_cb=received, task_done_cb=done)
        self.send(task, self._context, targets=[host])

        def cancel() -> None:
            self._busy.add(host)
            self.cancel_task(task)

        return cancel

    def _tidy(self, travelled: int) -> None:
        """Free NVFlare's circles of messages, once much has travelled: it takes half a second."""
        self._travelled += travelled
        if self._travelled >= TIDY:
            self._travelled = 0
            gc.collect()

    def _ask_all(self) -> None:
        """Ask every host who it is."""
        for client in self._hosts:
            self.post(client, {"kind": "hello"}, b"", partial(self._greeted, client))

    def _greeted(self, client: str, reply: Reply) -> None:
        self._hellos[client] = dict(reply.told)

    def fault(self, client: str) -> str | None:
        """Return why a client cannot be sent anything now, None if it can."""
        if self.lost(client):
            return LOST
        return "still at work on an earlier task" if self._hosts[client] in self._busy else None

    def stopped(self) -> bool:
        """Whether the job is to end at once."""
        return bool(self._abort.triggered)

    def lost(self, client: str) -> bool:
        """Whether the host of a client takes no part in this job, or no more."""
        host = self._hosts[client]
        heard = self._heard.get(host, self._begun)
        return host not in self._there or time.monotonic() - heard > SILENT

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
                files, lost = listing(served.folder), [c for c in self._hosts if self.lost(c)]
                return {"events": events, "files": files, "lost": lost, "outcome": outcome}
            case "read" if served:
                start = int(asked.get("start", 0))
                return {"data": read_block(served.folder, str(asked.get("file")), start)}
            case "hello":
                over = bool(self._hosts) and len(self._hellos) == len(self._hosts)
                return {"over": over, "told": dict(self._hellos)}
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
