"""What a round on a federation of real processes costs beside the training itself.

A server and N hosts on this machine, TLS between them; every round of W bytes a client and way.
Prints for each size: the overhead of a round (wall time minus the slowest training), bytes in TCP
over the bytes of factors, CPU seconds of NVFlare's processes without the trainers, and memory of
the server's job after each round. Beside it the load of the machine, without which the figures
say little. Figures are written as they come; what the file has is not measured again.

    python benchmarks/engines.py --results engines.json
    python benchmarks/engines.py --results engines.json memory
"""

import argparse
import json
import os
import re
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from statistics import median
from typing import Any

import psutil

from polyrank.console.progress import Silent
from polyrank.engines.nvflare.following import Following
from polyrank.engines.nvflare.loopback import federation, hosts_of
from polyrank.engines.nvflare.request import Request
from polyrank.record.lines import RoundLine
from polyrank.record.new_folder import new_folder
from polyrank.record.run_folder import Elsewhere
from polyrank.settings.toml import make_settings

TITLE = "What a round on a federation of real processes costs beside the training"
TRAINED = re.compile(r"^polyrank: round (\d+): trained in ([\d.]+) s", re.MULTILINE)
SIZES = {1: (2048, 60), 20: (4096, 620)}  # megabytes -> width of the model, rank
CASES = {  # clients, rounds, megabytes
    "1 MB": (4, 10, 1),
    "20 MB": (4, 10, 20),
    "memory": (3, 40, 20),
}


def settings_of(clients: int, rounds: int, megabytes: int) -> dict[str, Any]:
    """Return a run whose every update has about so many megabytes, and hardly trains."""
    width, rank = SIZES[megabytes]
    return {
        "rounds": rounds,
        "data": "digits",
        "partition": {"kind": "iid", "clients": clients},
        "model": {"kind": "mlp", "hidden": [width, width]},
        "adapter": {"targets": ["fc2"], "extras": "none"},
        "ranks": {"r_min": rank, "r_max": rank},
        "allocator": {"kind": "uniform", "rank": rank},
        "aggregator": "rbla",
        "training": {"steps": 1, "optimizer": "sgd"},
        "evaluation": {"every": rounds},
        "norm_bound": 0,
    }


class Meter(Silent):
    """Measures after each round what the processes have used."""

    def __init__(self) -> None:
        self.seen: list[dict[str, float]] = []
        self.began, self.first = time.monotonic(), 0.0
        self.said: dict[Path, str] = {}
        self.before = {*consoles()}  # of federations that were killed

    def turn(self, client: str, done: int, total: int) -> None:
        """Note when the first answer came."""
        self.first = self.first or time.monotonic() - self.began

    def round(self, line: RoundLine, rounds: int, total_bytes: int) -> None:
        """Note what has been used by now."""
        cpu, memory, sent = 0.0, 0.0, 0
        for process in psutil.Process().children(recursive=True):
            try:
                told, times = " ".join(process.cmdline()), process.cpu_times()
                if "nvflare" in told:
                    cpu += times.user + times.system
                if "runner_process" in told:
                    memory = process.memory_info().rss / 1e6
                if "server_train" in told:
                    sent = wire_bytes(process)
            except psutil.NoSuchProcess:
                continue
        for path in {*consoles()} - self.before:
            self.said[path] = path.read_text(errors="replace")
        now = time.monotonic() - self.began
        self.seen.append({"at": now, "cpu": cpu, "memory": memory, "wire": sent})

    def slowest(self) -> list[float]:
        """Return the longest training of each round, as the clients' hosts have said it."""
        found: dict[int, float] = {}
        for text in self.said.values():
            for number, seconds in TRAINED.findall(text):
                found[int(number)] = max(found.get(int(number), 0.0), float(seconds))
        return [found[number] for number in sorted(found)]


def consoles() -> Iterator[Path]:
    """Yield where the hosts of federations on this machine write what they say."""
    yield from Path(tempfile.gettempdir()).glob("polyrank-*/site-*/console.log")


def wire_bytes(server: psutil.Process) -> int:
    """Return the bytes that the server has sent and received in TCP, on its open connections."""
    port = min(c.laddr.port for c in server.net_connections() if c.status == "LISTEN" and c.laddr)
    out = subprocess.run(["ss", "-tinH", f"sport = :{port}"], capture_output=True, text=True)
    words = [word.partition(":") for word in out.stdout.split()]
    return sum(int(n) for name, _, n in words if name in ("bytes_sent", "bytes_received"))


def measure(clients: int, rounds: int, megabytes: int) -> dict[str, Any]:
    """Run one federation and return its figures."""
    names = [str(number) for number in range(clients)]
    settings = make_settings(settings_of(clients, rounds, megabytes))
    meter = Meter()
    with tempfile.TemporaryDirectory() as folder:
        with federation(names, Path(folder) / "federation") as (console, _):
            started = time.monotonic() - meter.began
            told = settings.model_dump(mode="json", exclude_none=True)
            request = Request("run-measured", told, hosts_of(names), split=True)
            where = Elsewhere(f"local:{clients}", request.run, tuple(names))
            meter.began = time.monotonic()
            with new_folder(Path(folder) / "run", settings) as run:
                Following(console, request, run, where, meter).to_the_end()
        times = [json.loads(t) for t in (run.path / "timings.jsonl").read_text().splitlines()]
        lines = [json.loads(t) for t in (run.path / "rounds.jsonl").read_text().splitlines()]
    found = figures(meter, times, lines, megabytes, meter.slowest())
    return {"start of all hosts s": round(started, 1), **found}


def figures(
    meter: Meter, times: list[Any], lines: list[Any], megabytes: int, trained: list[float]
) -> dict[str, Any]:
    """Return the figures of a run.

    Rounds after the first two, in which all is warm; bytes and CPU without the last one, after
    which the admin is sent a copy of the run's state.
    """
    walls = [line["seconds"]["train"] for line in times if "train" in line["seconds"]]
    over = [wall - slowest for wall, slowest in zip(walls, trained, strict=True)][2:]
    seen = meter.seen[2:-1]
    rounds = len(seen) - 1
    payload = sum(line["bytes"]["up"] + line["bytes"]["down"] for line in lines[3:-1])
    wire = seen[-1]["wire"] - seen[0]["wire"]
    return {
        "megabytes": megabytes,
        "overhead a round, median s": round(median(over), 2),
        "overhead a round, most s": round(max(over), 2),
        "wire over payload": round(wire / payload, 4),
        "CPU s a round without training": round((seen[-1]["cpu"] - seen[0]["cpu"]) / rounds, 2),
        "server's job MB by round": [round(line["memory"]) for line in meter.seen],
        "job to first update s": round(meter.first, 1),
        "load": [round(x, 1) for x in os.getloadavg()],
    }


def main() -> None:
    """Measure what the file does not have yet, and write each case's figures as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("cases", nargs="*", choices=[*CASES, []], help="all without any")
    parser.add_argument("--results", type=Path, required=True)
    given = parser.parse_args()
    found = json.loads(given.results.read_text())["engines"] if given.results.exists() else {}
    for name in given.cases or CASES:
        if name not in found:
            found[name] = measure(*CASES[name])
            result = {"title": TITLE, "engines": found}
            given.results.write_text(json.dumps(result, indent=1) + "\n")
        print(name, json.dumps(found[name], indent=2), flush=True)


if __name__ == "__main__":
    main()
