"""The process that holds a client's data and model: ``python -m polyrank.runs.site_process``.

It reads messages from its standard input and answers each on its standard output, until the
input ends, which also ends a training that is under way.
"""

import os
import queue
import sys
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import torch

from polyrank.causes import told
from polyrank.client.agreement import Agreement
from polyrank.client.trainer import Trainer
from polyrank.disk.checkpoint import ClientStore
from polyrank.errors import SettingsError, TrainingError
from polyrank.protocol.frames import read_frame, write_frame
from polyrank.protocol.setup import Setup
from polyrank.protocol.wire import pack, unpack
from polyrank.runs.base import whole_base
from polyrank.runs.preparation import prepare
from polyrank.settings.schema import Settings
from polyrank.settings.toml import make_settings
from polyrank.settings.trust import own_code


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
        prepared = prepare(settings, self.store, base, setup.start, self.store / "tokens")
        name = self.agreement.client
        if name not in prepared.sites:
            raise SettingsError(f"the settings' data have no client {name!r}")
        sites = {name: prepared.sites[name]}
        self.trainer = Trainer(prepared.server.blueprint, sites, self.store)

    def _settings(self, document: Mapping[str, Any]) -> Settings:
        """Check the server's settings as those of a stranger: they may name no code."""
        device = {"device": self.agreement.device} if self.agreement.device else {}
        settings = make_settings({**document, **device}, "the run's settings")
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
        return pack(self.trainer.perform(unpack(data)))  # type: ignore[arg-type]


def main(agreement: str) -> None:
    """Answer messages until the input ends."""
    out = os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # what a library prints is no message
    came: queue.SimpleQueue[tuple[dict[str, Any], bytes]] = queue.SimpleQueue()
    threading.Thread(target=_read, args=(sys.stdin.buffer, came), daemon=True).start()
    torch.set_num_threads(1)
    process = SiteProcess(Agreement.read(Path(agreement)))
    while True:
        write_frame(out, *process.answer(*came.get()))


def _read(pipe: IO[bytes], came: "queue.SimpleQueue[tuple[dict[str, Any], bytes]]") -> None:
    """Read messages; end the process, in whatever it is doing, when no more can come."""
    while frame := read_frame(pipe):
        came.put(frame)
    os._exit(0)


if __name__ == "__main__":
    main(sys.argv[1])
