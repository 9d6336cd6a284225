"""Who is there: the clients of a federation, and what they agree to say of themselves."""

import tempfile
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from polyrank.engines.nvflare.console import Console
from polyrank.engines.nvflare.following import STARTING
from polyrank.engines.nvflare.jobs import write_job
from polyrank.engines.nvflare.request import Request
from polyrank.engines.nvflare.running import admin_console

ANSWERING = 30.0  # seconds in which sites say who they are, once the job has begun
LOOK = 0.3


def sites(path: Path) -> list[dict[str, Any]]:
    """Return each site of a kit: name, whether it is there, last seen, versions, rows, device.

    Raises:
        FederationError: the kit cannot be used, or no server answers.
    """
    console = admin_console(path)
    try:
        there = console.sites()
        told = _hellos(console, list(there)) if there else {}
    finally:
        console.close()
    return [_line(name, there.get(name), told.get(name, {})) for name in console.kit.hosts.sites]


def _hellos(console: Console, names: list[str]) -> Mapping[str, Mapping[str, Any]]:
    """Let a small job ask every site who it is."""
    request = Request("hello", {}, {name: name for name in names}, names, hello=True)
    with tempfile.TemporaryDirectory() as folder:
        write_job(Path(folder) / "job", request)
        job = console.submit(Path(folder) / "job")
    end, begun = time.monotonic() + STARTING, False
    told: Mapping[str, Mapping[str, Any]] = {}
    try:
        while time.monotonic() < end:
            news = console.command(job, "hello", {})
            if news and not begun:
                begun, end = True, time.monotonic() + ANSWERING
            if news:
                told = dict(news["told"])
            if news and news.get("over"):
                console.command(job, "bye", {})
                return told
            time.sleep(LOOK)
    except BaseException:
        console.abort(job)
        raise
    console.abort(job)
    return told


def _line(name: str, seen: float | None, told: Mapping[str, Any]) -> dict[str, Any]:
    when = datetime.fromtimestamp(seen, UTC).strftime("%Y-%m-%d %H:%M:%S UTC") if seen else "never"
    versions = told.get("versions") or {}
    return {
        "site": name,
        "there": "connected" if seen else "not connected",
        "seen": when,
        "versions": ", ".join(f"{part} {number}" for part, number in versions.items()),
        "rows": told.get("rows") or "",
        "device": told.get("device") or "",
    }
