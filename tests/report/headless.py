"""A headless Chromium, driven over its debugging pipe with the standard library alone."""

import base64
import fcntl
import json
import os
import select
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Self

PROGRAM = Path("/usr/bin/chromium")
FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-sync",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-dev-shm-usage",
)
PATIENCE = 600  # seconds; a guard against hanging, not a bound on speed
READY = "!document.getElementById('plotly') || document.documentElement.dataset.charts === 'done'"
DRAWN = (
    "Object.fromEntries(Array.from(document.querySelectorAll('[data-figure]'), box =>"
    " [box.dataset.figure, box.querySelector('svg.main-svg :is(.trace, .point, .hm)') !== null]))"
)


class Chromium:
    """One browser with one page; what the page says and asks for is in ``events``."""

    def __init__(self, profile: Path) -> None:
        into, self._commands = os.pipe()
        self._answers, out = os.pipe()
        high = [fcntl.fcntl(end, fcntl.F_DUPFD, 20) for end in (into, out)]
        flags = [*FLAGS, "--remote-debugging-pipe", f"--user-data-dir={profile}", "about:blank"]
        self._process = subprocess.Popen(
            ["bash", "-c", f'exec "$@" 3<&{high[0]} 4>&{high[1]}', "bash", str(PROGRAM), *flags],
            pass_fds=high,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        for end in (into, out, *high):
            os.close(end)
        self._number, self._unread, self._session = 0, b"", None
        self.events: list[dict[str, Any]] = []
        target = self.send("Target.getTargets")["targetInfos"][0]["targetId"]
        attached = self.send("Target.attachToTarget", targetId=target, flatten=True)
        self._session = attached["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.send(f"{domain}.enable")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._session = None
        try:
            self.send("Browser.close")
            self._process.wait(timeout=10)
        except (OSError, TimeoutError, subprocess.TimeoutExpired):
            self._process.kill()
            self._process.wait()
        os.close(self._commands)
        os.close(self._answers)

    def send(self, method: str, **parameters: object) -> dict[str, Any]:
        """Send one command of the DevTools protocol and return its result."""
        self._number += 1
        message: dict[str, Any] = {"id": self._number, "method": method, "params": parameters}
        if self._session:
            message["sessionId"] = self._session
        os.write(self._commands, json.dumps(message).encode() + b"\0")
        while True:
            answer = self._read()
            if answer.get("id") == self._number:
                assert "error" not in answer, (method, answer["error"])
                return answer["result"]
            self.events.append(answer)

    def open(self, page: Path, width: int = 1440, height: int = 900, scheme: str = "light") -> None:
        """Show ``page`` in a window of that size and wait until it has loaded."""
        self.events.clear()
        phone = width < 600
        self.send(
            "Emulation.setDeviceMetricsOverride",
            width=width, height=height, deviceScaleFactor=1, mobile=phone,
        )  # fmt: skip
        self.send("Emulation.setTouchEmulationEnabled", enabled=phone)
        self.prefer(scheme)
        self.send("Page.navigate", url=page.resolve().as_uri())
        self.until(lambda: any(e["method"] == "Page.loadEventFired" for e in self.events))
        self.until(lambda: self.run(READY))

    def prefer(self, scheme: str) -> None:
        """Set what prefers-color-scheme says."""
        feature = {"name": "prefers-color-scheme", "value": scheme}
        self.send("Emulation.setEmulatedMedia", media="", features=[feature])

    def run(self, script: str) -> Any:
        """Return the value of a JavaScript expression in the page."""
        answer = self.send(
            "Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True
        )
        assert "exceptionDetails" not in answer, answer["exceptionDetails"]
        return answer["result"].get("value")

    def until(self, true: Callable[[], bool]) -> None:
        """Wait for the page until ``true()``."""
        end = time.monotonic() + PATIENCE
        while not true():
            assert time.monotonic() < end, "the page took too long"
            self.run("new Promise(done => setTimeout(done, 20))")

    def press(self, key: str, code: int) -> None:
        """Press and release one key."""
        for kind in ("rawKeyDown", "char", "keyUp"):
            text = {"text": "\r"} if key == "Enter" and kind != "keyUp" else {}
            if kind == "char" and not text:
                continue
            self.send(
                "Input.dispatchKeyEvent",
                type=kind, key=key, code=key, windowsVirtualKeyCode=code, **text,
            )  # fmt: skip

    def screenshot(self, out: Path) -> None:
        """Write the whole page as a PNG file."""
        shot = self.send("Page.captureScreenshot", captureBeyondViewport=True)
        out.write_bytes(base64.b64decode(shot["data"]))

    def complaints(self) -> list[str]:
        """Return what the page threw, logged or was refused by its security policy."""
        bad = ("Runtime.exceptionThrown", "Runtime.consoleAPICalled", "Log.entryAdded")
        return [json.dumps(event["params"]) for event in self.events if event["method"] in bad]

    def requests(self) -> list[str]:
        """Return every address that the page asked for."""
        sent = [e["params"] for e in self.events if e["method"] == "Network.requestWillBeSent"]
        return [event["request"]["url"] for event in sent]

    def _read(self) -> dict[str, Any]:
        while b"\0" not in self._unread:
            ready, _, _ = select.select([self._answers], [], [], PATIENCE)
            if not ready:
                raise TimeoutError("Chromium does not answer")
            piece = os.read(self._answers, 1 << 20)
            if not piece:
                raise TimeoutError("Chromium has ended")
            self._unread += piece
        message, _, self._unread = self._unread.partition(b"\0")
        return json.loads(message)
