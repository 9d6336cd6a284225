"""The process that holds a client's data and model; ``warm_process`` starts it.

It reads messages from its standard input and answers each on its standard output, until the
input ends, which also ends a training that is under way.
"""

import os
import queue
import sys
import threading
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import torch
from rich.filesize import decimal

from polyrank.causes import told
from polyrank.client.agreement import Agreement
from polyrank.client.consent import run_refusal, task_refusal
from polyrank.client.site import Site
from polyrank.client.trainer import Trainer
from polyrank.disk.checkpoint import ClientStore
from polyrank.errors import FederationError, SettingsError, TrainingError
from polyrank.learning.blueprint import Blueprint
from polyrank.lora.factors import Tensors
from polyrank.plain import one_line
from polyrank.protocol.frames import read_frame, write_frame
from polyrank.protocol.messages import (
    Answer,
    EvaluateTask,
    Failure,
    ProbeTask,
    Task,
    TrainTask,
    Update,
)
from polyrank.protocol.setup import Setup
from polyrank.protocol.wire import pack, unpack
from polyrank.runs.base import whole_base
from polyrank.runs.own_data import own_site
from polyrank.runs.own_model import keep_setup
from polyrank.runs.preparation import prepare
from polyrank.settings.schema import Settings
from polyrank.settings.toml import make_settings
from polyrank.settings.trust import own_code

SAID = "polyrank: "  # begins each line for the owner of the host


@dataclass
class SiteProcess:
    """One client's side of a run, in this process.

    Args:
        agreement: what its owner has set.
    """

    agreement: Agreement
    trainer: Trainer | None = None
    store: Path | None = None

    def answer(self, message: Mapping[str, Any], data: bytes) -> tuple[dict[str, Any], bytes]:
        """Do what a message asks; an error in it becomes a refusal with its reason."""
        try:
            if message.get("kind") == "setup":
                self._begin(Setup.unpack(data))
                return {"kind": "ready"}, b""
            return {"kind": "answer"}, self._perform(data, message.get("keep"))
        except Exception as error:
            return {"kind": "failed", "reason": told(error)}, b""

    def _begin(self, setup: Setup) -> None:
        settings = self._settings(setup.settings)
        self.store = Path(self.agreement.store) / Path(setup.run).name
        base = whole_base(settings, setup.base, setup.about)
        blueprint, site = self._own(settings, setup, base)
        if reason := run_refusal(self.agreement, site, base):
            raise FederationError(reason)
        self.trainer = Trainer(blueprint, {self.agreement.client: site}, self.store)
        keep_setup(self.store, setup, settings)
        say(f"run {setup.run}: {len(site.train)} training rows, {len(site.test)} test rows")

    def _own(self, settings: Settings, setup: Setup, base: Tensors) -> tuple[Blueprint, Site]:
        """Return the model, and the client's own rows or its share of the settings' data."""
        assert self.store is not None
        about, name, cache = setup.about, self.agreement.client, self.store / "tokens"
        if self.agreement.data is not None:
            shape, classes = tuple(about["input_shape"]), int(about["classes"])
            blueprint = Blueprint(settings, base, shape, classes, setup.start)
            return blueprint, own_site(settings, self.agreement, about, cache)
        prepared = prepare(settings, self.store, base, setup.start, cache)
        if name not in prepared.sites:
            raise SettingsError(f"the settings' data have no client {name!r}")
        return prepared.server.blueprint, prepared.sites[name]

    def _settings(self, document: Mapping[str, Any]) -> Settings:
        """Check the server's settings as those of a stranger: they may name no code."""
        changed = {**document}
        if self.agreement.device:
            changed["device"] = self.agreement.device
        if self.agreement.model:
            changed["model"] = {**document["model"], "name": self.agreement.model}
        settings = make_settings(changed, "the run's settings")
        if named := own_code(settings):
            names = ", ".join(f"{key} = {name!r}" for key, name in named)
            raise SettingsError(f"the run names code that is not PolyRank's own: {names}")
        return settings

    def _perform(self, data: bytes, keep: Sequence[int] | None) -> bytes:
        if self.trainer is None or self.store is None:
            raise TrainingError("a task came before the setup of its run")
        if keep is not None:
            own = self.agreement.client
            ClientStore(self.store).keep_only(*({own: int(round)} for round in keep))
        task: Any = unpack(data)
        reason = task_refusal(self.agreement, task, self.trainer.model.blueprint.base)
        answer = Failure(task.id, reason) if reason else self.trainer.perform(task)
        say(told_of(task, answer))
        return pack(answer)


def say(text: str) -> None:
    """Tell the owner of the host, who reads what the host's processes print."""
    print(f"{SAID}{one_line(text)}", file=sys.stderr, flush=True)  # noqa: T201


def told_of(task: Task, answer: Answer) -> str:
    """Say in one line what was asked and what has left this host."""
    did = {TrainTask: "trained", ProbeTask: "measured", EvaluateTask: "evaluated"}
    what = f"round {task.id.round}: {did.get(type(task), 'told of itself')}"
    if isinstance(answer, Failure):
        return f"{what}: refused or failed: {answer.reason}"
    spent = f" in {answer.seconds:.3g} s" if isinstance(answer, Update) else ""
    return f"{what}{spent}, {decimal(len(pack(answer)))} left"


def main(agreement: str) -> None:
    """Answer messages until the input ends."""
    out = os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # what a library prints is no message
    came: queue.SimpleQueue[tuple[dict[str, Any], bytes]] = queue.SimpleQueue()
    threading.Thread(target=_read, args=(sys.stdin.buffer, came), daemon=True).start()
    torch.set_num_threads(1)
    process = SiteProcess(Agreement.read(Path(agreement)))
    _show(process.agreement.client)
    while True:
        write_frame(out, *process.answer(*came.get()))


def _read(pipe: IO[bytes], came: "queue.SimpleQueue[tuple[dict[str, Any], bytes]]") -> None:
    """Read messages; end the process, in whatever it is doing, when no more can come."""
    while frame := read_frame(pipe):
        came.put(frame)
    os._exit(0)


def _show(client: str) -> None:
    """Have the process listed by its client's name, where the system can."""
    with suppress(OSError):
        Path("/proc/self/comm").write_text(f"client {client}", encoding="utf-8")
