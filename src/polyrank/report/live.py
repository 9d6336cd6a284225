"""A live view of a run: its report page, served to this machine alone.

The page asks ``/version`` once a second and swaps in what is new. Nothing but these two
addresses is answered and no file is served. A request must name this machine as its host,
so that a foreign site whose name is made to point here (DNS rebinding) reads nothing.
"""

import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from socketserver import TCPServer
from threading import Lock, Thread
from typing import Any

from polyrank.errors import PolyRankError, SettingsError
from polyrank.report import build_live, build_notice, read_run

HOST = "127.0.0.1"
FILES = ("config.toml", "rounds.jsonl", "clients.jsonl", "timings.jsonl", "summary.json")
RECENT = 3.0  # seconds; an open page asks once a second
PATIENCE = 10.0  # seconds that an open page has to fetch the end of a run
SILENCE = 5.0  # seconds after which a silent connection is closed
HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "frame-ancestors 'none'",  # the page itself holds the rest
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}
Response = tuple[HTTPStatus, bytes]


def version(folder: Path) -> str:
    """Return a short text that changes with the records of the run in ``folder``."""
    return ".".join(_stamp(folder / name) for name in FILES)


@contextmanager
def watched(folder: Path, port: int, complain: Callable[[str], None]) -> Iterator["LiveServer"]:
    """Serve the page about a run, which may not have begun, from a thread of this process.

    Args:
        folder: the run folder.
        port: 0 picks a free one.
        complain: is told of the first error while serving; none of them comes out of here.

    Raises:
        SettingsError: the port cannot be used.
    """
    server = LiveServer(folder, port, complain)
    # A daemon, so that a request that hangs can never keep the process from ending.
    thread = Thread(target=server.serve_forever, args=(0.2,), name="watching", daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


class LiveServer(ThreadingHTTPServer):
    """Answers with the page about one run; made by ``watched``."""

    allow_reuse_address = os.name == "posix"  # elsewhere it would share the port with others

    def __init__(self, folder: Path, port: int, complain: Callable[[str], None]) -> None:
        self.folder = folder
        self.last_asked = -RECENT
        self.last_shown = ""  # the version that last reached a page whole
        self._complain = complain
        self._lock = Lock()
        self._version = ""
        self._page: Response = HTTPStatus.OK, b""
        try:
            super().__init__((HOST, port), _Handler)
        except (OSError, OverflowError) as error:
            reason = getattr(error, "strerror", None) or error
            raise SettingsError(
                f"port {port} on {HOST} cannot be used: {reason}; "
                "choose another --port, or leave it out for a free one"
            ) from error

    @property
    def address(self) -> str:
        """Where a browser finds the page."""
        return f"http://{HOST}:{self.server_port}/"

    @property
    def hosts(self) -> frozenset[str]:
        """What a request may call this server."""
        names = (HOST, "localhost")
        bare = names if self.server_port == 80 else ()  # browsers leave the usual port out
        return frozenset([*(f"{name}:{self.server_port}" for name in names), *bare])

    def page(self) -> tuple[str, Response]:
        """Return the version and the page, built only when the run has changed."""
        with self._lock:
            current = version(self.folder)
            if current != self._version:
                self._page = self._build(current)
                self._version = current
            return current, self._page

    def wait_for_pages(self) -> None:
        """Let a page that is open fetch what was written last, for some seconds at most."""
        end = time.monotonic() + PATIENCE
        with suppress(KeyboardInterrupt):
            while (
                time.monotonic() < min(end, self.last_asked + RECENT)
                and version(self.folder) != self.last_shown
            ):
                time.sleep(0.05)

    def complain(self, error: object) -> None:
        """Tell of the first error."""
        complain, self._complain = self._complain, _say_nothing
        complain(f"the live view: {error}")

    def server_bind(self) -> None:
        """Bind without looking up a name for the address, as HTTPServer would."""
        TCPServer.server_bind(self)
        self.server_name, self.server_port = self.server_address[:2]  # type: ignore[assignment]

    def handle_error(self, request: object, client_address: object) -> None:
        """Tell of an error once; a reader who left or fell silent is none."""
        error = sys.exc_info()[1]
        if not isinstance(error, ConnectionError | TimeoutError):
            self.complain(f"{type(error).__name__}: {error}")

    def _build(self, current: str) -> Response:
        try:
            if not (self.folder / "config.toml").exists():
                text = "There is no run in its folder yet."
                page = build_notice(self.folder.name, "The run is starting", text, current)
            else:
                page = build_live(read_run(self.folder), current)
        except Exception as error:  # whatever it is, the run goes on and the reader is told
            kind = "" if isinstance(error, PolyRankError) else f"{type(error).__name__}: "
            self.complain(f"{kind}{error}")
            page = build_notice(
                self.folder.name, "This run cannot be shown", f"{kind}{error}", current
            )
            return HTTPStatus.INTERNAL_SERVER_ERROR, page.encode()
        return HTTPStatus.OK, page.encode()


class _Handler(BaseHTTPRequestHandler):
    server: LiveServer
    timeout = SILENCE

    def do_GET(self) -> None:
        if self._misnamed():
            expected = " or ".join(sorted(self.server.hosts))
            self._answer(HTTPStatus.FORBIDDEN, f"expected the host {expected}\n".encode())
        elif self.path == "/version":
            self.server.last_asked = time.monotonic()
            self._answer(HTTPStatus.OK, version(self.server.folder).encode())
        elif self.path == "/":
            self.server.last_asked = time.monotonic()
            shown, (status, page) = self.server.page()
            self._answer(status, page, "text/html; charset=utf-8")
            if self.command == "GET":
                self.server.last_shown = shown
        else:
            self._answer(HTTPStatus.NOT_FOUND, b"not found\n")

    do_HEAD = do_GET

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        unknown = code == HTTPStatus.NOT_IMPLEMENTED  # a method that nobody answers
        status = HTTPStatus.NOT_FOUND if unknown else HTTPStatus(code)
        self._answer(status, f"{status.phrase.lower()}\n".encode())

    def version_string(self) -> str:
        return "polyrank"

    def log_message(self, format: str, *args: Any) -> None:  # noqa: ANN401 - as in the base class
        pass

    def _misnamed(self) -> bool:
        named = self.headers.get_all("Host", [])
        return len(named) != 1 or named[0].strip().lower() not in self.server.hosts

    def _answer(self, status: HTTPStatus, body: bytes, kind: str = "text/plain") -> None:
        self.send_response(status)
        for name, value in {**HEADERS, "Content-Type": kind}.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)


def _stamp(path: Path) -> str:
    try:
        found = path.stat()
    except OSError:
        return "0"
    return f"{found.st_size:x}-{found.st_mtime_ns:x}"


def _say_nothing(text: str) -> None:
    pass
