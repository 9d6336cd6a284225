"""Kits, hosts and an admin, each started by its own command, in folders that stand for hosts."""

import contextlib
import json
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("nvflare", reason="NVFlare is not installed: pip install 'polyrank[nvflare]'")

import psutil

from polyrank import api
from polyrank.datasets.digits import digits
from polyrank.engines.nvflare.jobs import write_job
from polyrank.engines.nvflare.policies import SITE_CLASS
from polyrank.engines.nvflare.request import Request
from polyrank.engines.nvflare.running import admin_console
from polyrank.errors import FederationError
from tests.commands import command

NAMES = ("clinic-a", "clinic-b", "clinic-c")


def rows(path: Path, part: int) -> Path:
    """Write every fourth digit; clinic-b has no digit above 5."""
    data = digits("")
    mine = np.arange(len(data.train_y)) % 4 == part
    mine &= (data.train_y < 6) | (path.stem != "clinic-b")
    np.savez(path, train_x=data.train_x[mine], train_y=data.train_y[mine])
    return path


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture
def hosts(tmp_path: Path) -> Iterator[dict[str, subprocess.Popen[bytes]]]:
    sites = tmp_path / "sites.toml"
    sites.write_text(f"server = 'localhost'\nport = {free_port()}\nsites = {list(NAMES)}\n")
    key, request = tmp_path / "client.key", tmp_path / "clinic-c.csr"
    asks = f"openssl req -new -newkey rsa:2048 -nodes -keyout {key} -out {request}"
    subprocess.run([*asks.split(), "-subj", "/CN=clinic-c"], check=True, capture_output=True)
    command(f"polyrank provision {sites} --out {tmp_path / 'kits'} --request {request}", 0)
    shutil.move(key, tmp_path / "kits" / "clinic-c" / "startup" / "client.key")
    refusing = {"clinic-b": ["--cap", "3"], "clinic-c": ["--least-rows", "10000"]}
    lines = {"server": ["serve", tmp_path / "kits" / "server"]}
    for part, name in enumerate(NAMES):
        data = rows(tmp_path / f"{name}.npz", part)
        own = refusing.get(name, [])
        lines[name] = ["join", tmp_path / "kits" / name, "--data", data, *own]
    started = {}
    for name, line in lines.items():
        with (tmp_path / f"{name}.log").open("wb") as log:
            code = "from polyrank.cli import main; main()"
            words = [sys.executable, "-c", code, *map(str, line)]
            started[name] = subprocess.Popen(words, stdout=log, stderr=log)
    yield started
    for process in started.values():
        process.send_signal(signal.SIGTERM)
    for process in started.values():
        assert process.wait(60) == 0
    assert not [
        p for p in psutil.Process().children(recursive=True) if "nvflare" in str(p.cmdline())
    ]


def test_clients_with_data_of_their_own_take_part_as_far_as_their_owners_agree(hosts, tmp_path):
    admin = tmp_path / "kits" / "admin"
    end = time.monotonic() + 180
    found: list[dict[str, object]] = []
    while [site["there"] for site in found] != ["connected"] * 3 and time.monotonic() < end:
        with contextlib.suppress(AssertionError):  # the server may not answer yet
            found = json.loads(command(f"polyrank sites {admin} --json", 0))
    assert [(site["site"], site["rows"]) for site in found] == [
        (name, len(np.load(tmp_path / f"{name}.npz")["train_y"])) for name in NAMES
    ]
    settings = {
        "rounds": 2,
        "data": str(rows(tmp_path / "server.npz", 3)),
        "model": {"kind": "mlp", "hidden": [16]},
        "ranks": {"r_min": 1, "r_max": 8},
        "training": {"epochs": 1},
    }
    run = api.run(
        settings, out=tmp_path / "run", federation=str(admin), clients=NAMES, min_clients=3
    ).folder
    lines = [json.loads(text) for text in (run / "rounds.jsonl").read_text().splitlines()]
    for line in lines[1:]:
        (lost,) = line["failed"]
        assert lost["client"] == "clinic-c"
        assert "with at least 10000 training rows, and has" in lost["reason"]
    told = [json.loads(text) for text in (run / "clients.jsonl").read_text().splitlines()]
    profiles = {line["client"]: line for line in told if line["event"] == "profile"}
    assert max(profiles["clinic-a"]["ranks"].values()) > 3
    assert max(profiles["clinic-b"]["ranks"].values()) <= profiles["clinic-b"]["cap"] == 3
    assert profiles["clinic-b"]["label_counts"][6:] == [0] * 4

    assert not list(run.rglob("clinic-*"))
    assert list((tmp_path / "kits" / "clinic-a" / "store").rglob("clinic-a.2.safetensors"))
    assert "round 2: trained" in (tmp_path / "clinic-a.log").read_text()
    assert "Traceback" not in "".join(path.read_text() for path in tmp_path.glob("*.log"))

    for brings in ("code", "class"):
        assert_refused(brings, admin, tmp_path)


def assert_refused(brings: str, admin: Path, tmp_path: Path) -> None:
    """See that hosts take no job with code of its own, and none with another class."""
    job, trace = tmp_path / brings, tmp_path / f"{brings}.trace"
    write_job(job, Request("bad", {}, {}, ["clinic-a"]))
    config = job / "site" / "config" / "config_fed_client.json"
    if brings == "code":
        custom = job / "site" / "custom" / "evil.py"
        custom.parent.mkdir()
        custom.write_text(f"open({str(trace)!r}, 'w')")
        config.write_text(config.read_text().replace(SITE_CLASS, "evil.Evil"))
    else:
        other = "nvflare.app_common.executors.statistics.statistics_executor.StatisticsExecutor"
        config.write_text(config.read_text().replace(SITE_CLASS, other))
    console = admin_console(admin)
    status, end = "", time.monotonic() + 60
    try:
        number = console.submit(job)
        while "FINISHED" not in status and time.monotonic() < end:
            status = console.status(number)
            time.sleep(0.3)
    except FederationError as error:
        status = str(error)
    finally:
        console.close()
    assert "FINISHED:COMPLETED" not in status
    assert not trace.exists()
