"""Kill each part of a federation in mid-run, and see that what the guide promises comes true.

Kits, a server, three clients' hosts and an admin, each started by its own command, in folders of
their own. Prints a line with a verdict for each case and exits 1 if one fails. Every process bears
a mark in its environment; at the end none may be left.

    python scripts/kill_table.py [--results FILE.json]
    python scripts/kill_table.py trainer server
"""

import argparse
import contextlib
import json
import os
import secrets
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import psutil

from polyrank.datasets.digits import digits

Verdict = dict[str, Any]
TITLE = "What becomes of a federation when a part of it dies"
MARK = "POLYRANK_KILL_TABLE"
SITES = ("clinic-a", "clinic-b", "clinic-c")
ROUNDS = 24  # some are still to come when a part is killed, on a fast machine too
LONGER = ("--set", "rounds=80")  # until a host that starts again has connected
PATIENCE = 400.0  # seconds for each thing that is waited for; machines of CI are slow
SETTINGS = f"""
rounds = {ROUNDS}
round_timeout = 30
[model]
kind = "mlp"
hidden = [64]
[ranks]
r_min = 1
r_max = 8
[training]
epochs = 5
batch_size = 8
"""


class FailedError(Exception):
    """Something that the guide promises did not come true."""


class Link:
    """Passes connections on to the server's port; can be cut."""

    def __init__(self, server: int) -> None:
        self._server, self._open = server, True
        self._ends: list[socket.socket] = []
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listening.getsockname()[1])
        threading.Thread(target=self._accept, daemon=True).start()

    def cut(self, seconds: float) -> None:
        """End all connections, and take none for so long."""
        self._open = False
        for end in self._ends:
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
        time.sleep(seconds)
        self._open = True

    def _accept(self) -> None:
        while True:
            near, _ = self._listening.accept()
            try:
                far = socket.create_connection(("127.0.0.1", self._server))
            except OSError:
                near.close()
                continue
            if not self._open:
                near.close()
                far.close()
                continue
            self._ends += [near, far]
            for one, other in ((near, far), (far, near)):
                threading.Thread(target=self._pass, args=(one, other), daemon=True).start()

    def _pass(self, one: socket.socket, other: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := one.recv(2**16):
                other.sendall(data)
        for end in (one, other):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)


class Table:
    """A federation of commands, and what becomes of its runs."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.token = folder, secrets.token_hex(8)
        self.port, self.started = _free_port(), {}
        self.link = Link(self.port)
        sites = folder / "sites.toml"
        sites.write_text(f"server = 'localhost'\nport = {self.port}\nsites = {list(SITES)}\n")
        self.kits = folder / "kits"
        self.ended(self.begin("provision", "provision", sites, "--out", self.kits), 0)
        start = self.kits / "clinic-a" / "startup" / "fed_client.json"  # goes by the link
        start.write_text(start.read_text().replace(f":{self.port}", f":{self.link.port}"))
        for number, name in enumerate(("server", *SITES)):
            _rows(folder / f"{name}.npz", number)
        (folder / "run.toml").write_text(f"data = '{folder / 'server.npz'}'\n{SETTINGS}")
        for name in ("server", *SITES):
            self.host(name)

    def begin(self, name: str, *words: object) -> subprocess.Popen[bytes]:
        """Start a command of its own."""
        code = "from polyrank.cli import main; main()"
        with (self.folder / f"{name}.log").open("ab") as log:
            self.started[name] = subprocess.Popen(
                [sys.executable, "-c", code, *map(str, words)],
                stdout=log,
                stderr=log,
                env={**os.environ, MARK: self.token},
                start_new_session=True,
            )
        return self.started[name]

    def host(self, name: str) -> None:
        """Start the server or a client's host."""
        if name == "server":
            self.begin(name, "serve", self.kits / name)
        else:
            self.begin(name, "join", self.kits / name, "--data", self.folder / f"{name}.npz")

    def run(self, out: Path, *more: str) -> subprocess.Popen[bytes]:
        """Start a run, once all hosts are connected; ``more`` are settings of its own."""
        admin = self.kits / "admin"
        end = time.monotonic() + PATIENCE
        while True:
            words = ["run", self.folder / "run.toml", "--federation", admin, "--out", out]
            process = self.begin(out.name, *words, "--min-clients", len(SITES), *more)
            while process.poll() is None and not rounds_of(out):
                time.sleep(0.2)
            if rounds_of(out) or time.monotonic() > end:
                return process

    def resume(self, out: Path) -> None:
        """Resume a run to its end."""
        end = time.monotonic() + PATIENCE
        while self.begin(out.name, "run", "--resume", out).wait(PATIENCE):
            if time.monotonic() > end:
                raise FailedError("it cannot be resumed")

    def ended(self, process: subprocess.Popen[bytes], code: int | None) -> None:
        """See that a command ends, with a code; None for any but 0."""
        found = process.wait(PATIENCE)
        if (found == 0) if code is None else (found != code):
            raise FailedError(f"exit code {found}, expected {'another' if code is None else code}")

    def kill(self, name: str) -> None:
        """Kill a command and all that it has started, at once."""
        process = psutil.Process(self.started[name].pid)
        for one in (process, *process.children(recursive=True)):
            with contextlib.suppress(psutil.NoSuchProcess):
                one.kill()

    def trainer(self, client: str) -> psutil.Process:
        """Return the process that trains for a client."""
        for process in self.left():
            if process.name() == f"client {client}":
                return process
        raise FailedError(f"client {client} has no trainer")

    def left(self) -> list[psutil.Process]:
        """Return all processes that bear the mark."""
        found = []
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error):
                if process.environ().get(MARK) == self.token:
                    found.append(process)
        return found

    def close(self) -> list[str]:
        """End all hosts as systemd does; return what is left, which is killed."""
        for process in self.started.values():
            with contextlib.suppress(ProcessLookupError):
                process.send_signal(signal.SIGTERM)
        for process in self.started.values():
            process.wait(PATIENCE)
        left = self.left()
        said = [f"{process.pid} {' '.join(process.cmdline())[:80]}" for process in left]
        for process in left:
            process.kill()
        return said


def trainer(table: Table, out: Path, plain: list[str]) -> str:
    """A trainer is killed: one update is lost."""
    run = table.run(out)
    reached(out, 2)
    table.trainer("clinic-b").kill()
    table.ended(run, 0)
    lost = lost_in(out)
    if [client for client, _, _ in lost] != ["clinic-b"] or "died" not in lost[0][2]:
        raise FailedError(f"lost: {lost}")
    return f"one update lost, in round {lost[0][1]}: {lost[0][2]}"


def host(table: Table, out: Path, plain: list[str]) -> str:
    """A client's host is killed and comes back: skipped, then there again."""
    run = table.run(out, *LONGER)
    reached(out, 2)
    table.kill("clinic-c")
    gone = reached(out, 4)
    table.host("clinic-c")
    table.ended(run, 0)
    after = [round for client, round, _ in updates_of(out) if client == "clinic-c" and round > gone]
    if not after:
        raise FailedError(f"it did not take part again; lost: {lost_in(out)}")
    rounds = [round for client, round, _ in lost_in(out) if client == "clinic-c"]
    return f"missed in rounds {rounds}, trained again in round {after[0]}"


def server(table: Table, out: Path, plain: list[str]) -> str:
    """The server is killed: the run ends with an error, and goes on to the same bits."""
    run = table.run(out)
    reached(out, 3)
    table.kill("server")
    table.ended(run, None)
    table.host("server")
    table.resume(out)
    return same(out, plain)


def admin(table: Table, out: Path, plain: list[str]) -> str:
    """The admin is killed: the run goes on, and is followed again."""
    run = table.run(out)
    reached(out, 3)
    run.kill()
    run.wait()
    table.resume(out)
    return same(out, plain)


def ctrl_c(table: Table, out: Path, plain: list[str]) -> str:
    """Ctrl-C at the admin ends the job, and no trainer is left; the run can go on."""
    run = table.run(out)
    reached(out, 3)
    run.send_signal(signal.SIGINT)
    table.ended(run, None)
    end = time.monotonic() + PATIENCE
    while trainers := [p for p in table.left() if p.name().startswith("client ")]:
        if time.monotonic() > end:
            raise FailedError(f"left: {trainers}")
        time.sleep(0.5)
    table.resume(out)
    return same(out, plain)


def cut(table: Table, out: Path, plain: list[str]) -> str:
    """The connection of a client is cut for ten seconds: it goes on afterwards."""
    run = table.run(out)
    reached(out, 2)
    table.link.cut(10)
    now = len(rounds_of(out))
    table.ended(run, 0)
    after = [r for client, r, _ in updates_of(out) if client == "clinic-a" and r > now]
    if not after:
        raise FailedError(f"it did not take part again; lost: {lost_in(out)}")
    lost = [round for client, round, _ in lost_in(out)]
    return f"missed in rounds {lost}, trained in round {after[0]}"


def here(table: Table, out: Path, plain: list[str]) -> str:
    """Ctrl-C at a federation on one machine leaves no process."""
    before = {process.pid for process in table.left()}
    text = (table.folder / "run.toml").read_text().split("\n", 1)[1]
    (table.folder / "here.toml").write_text(f"data = 'digits'\n{text}")
    words = ["run", table.folder / "here.toml", "--federation", "local:3", "--out", out]
    run = table.begin(out.name, *words)
    reached(out, 1)
    run.send_signal(signal.SIGINT)
    table.ended(run, None)
    left = [process for process in table.left() if process.pid not in before]
    if left:
        raise FailedError(f"left: {left}")
    return "nothing is left"


CASES: dict[str, Callable[[Table, Path, list[str]], str]] = {
    "trainer": trainer,
    "host": host,
    "server": server,
    "admin": admin,
    "ctrl-c": ctrl_c,
    "cut": cut,
    "here": here,
}
WITH_BITS = ("server", "admin", "ctrl-c")  # compared with a run that nothing has disturbed


def rounds_of(out: Path) -> list[str]:
    """Return the lines of a run's rounds, as far as the admin has them."""
    with contextlib.suppress(OSError):
        return (out / "rounds.jsonl").read_text().splitlines()
    return []


def reached(out: Path, round: int) -> int:
    """Wait until a round is over; return the last one that is."""
    end = time.monotonic() + PATIENCE
    while len(rounds_of(out)) <= round:
        if time.monotonic() > end:
            raise FailedError(f"round {round} was not reached in {PATIENCE:g} s")
        time.sleep(0.1)
    return len(rounds_of(out)) - 1


def lost_in(out: Path) -> list[tuple[str, int, str]]:
    """Return client, round and reason of each update that was lost."""
    lines = [json.loads(text) for text in rounds_of(out)]
    return [(lost["client"], at["round"], lost["reason"]) for at in lines for lost in at["failed"]]


def updates_of(out: Path) -> list[tuple[str, int, float]]:
    """Return client, round and loss of each update."""
    lines = map(json.loads, (out / "clients.jsonl").read_text().splitlines())
    return [(at["client"], at["round"], at["loss"]) for at in lines if at["event"] == "update"]


def same(out: Path, plain: list[str]) -> str:
    """See that a run has the rounds of the one that nothing has disturbed."""
    differ = [
        n for n, pair in enumerate(zip(rounds_of(out), plain, strict=True)) if len({*pair}) > 1
    ]
    if differ:
        raise FailedError(
            f"rounds {differ} differ from those of an undisturbed run; lost: {lost_in(out)}"
        )
    return f"the same bits in all {len(plain) - 1} rounds"


def verdicts(folder: Path, cases: Sequence[str]) -> Iterator[Verdict]:
    """Try each case, print what came of it, and yield it."""
    table = Table(folder)
    try:
        plain: list[str] = []
        if {*cases} & {*WITH_BITS}:
            table.ended(table.run(folder / "run-plain"), 0)
            plain = rounds_of(folder / "run-plain")
        for name in cases:
            out = folder / f"run-{name}"  # no host bears such a name
            yield verdict(name, partial(CASES[name], table, out, plain))
    finally:
        left = table.close()
    yield verdict("end", lambda: "nothing is left" if not left else _fail(f"left: {left}"))


def verdict(name: str, case: Callable[[], str]) -> Verdict:
    """Print what became of one case, and return it."""
    began, good = time.monotonic(), True
    try:
        said = case()
    except Exception as error:
        said, good = f"{type(error).__name__}: {error}", False
    spent, load = round(time.monotonic() - began), round(os.getloadavg()[0], 1)
    print(f"{'ok' if good else 'FAILED':7} {name:8} {said} ({spent} s, load {load})", flush=True)
    return {"case": name, "good": good, "said": said, "seconds": spent, "load": load}


def _fail(said: str) -> str:
    raise FailedError(said)


def _rows(path: Path, part: int) -> None:
    data = digits("")
    mine = np.arange(len(data.train_y)) % 4 == part
    np.savez(path, train_x=data.train_x[mine], train_y=data.train_y[mine])


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def main() -> None:
    """Try the cases that are named, all without any."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("cases", nargs="*", metavar="CASE", help=f"of {', '.join(CASES)}")
    parser.add_argument("--results", type=Path, help="file for what became of them")
    given = parser.parse_args()
    cases = given.cases or [*CASES]
    if unknown := {*cases} - {*CASES}:
        parser.error(f"unknown: {', '.join(sorted(unknown))}; cases are {', '.join(CASES)}")
    with tempfile.TemporaryDirectory(prefix="polyrank-kills-") as folder:
        found = [*verdicts(Path(folder), cases)]
    if given.results:
        given.results.write_text(json.dumps({"title": TITLE, "killed": found}, indent=1) + "\n")
    sys.exit(not all(one["good"] for one in found))


if __name__ == "__main__":
    main()
