"""The live view: a real server on this machine, real run folders, a real browser."""

import http.client
import io
import json
import signal
import socket
import subprocess
import sys
import threading
import time
from contextlib import closing, contextmanager, redirect_stderr, redirect_stdout
from pathlib import Path

import pytest

import polyrank
from polyrank import api, cli
from polyrank.errors import SettingsError
from polyrank.report import build, read_run
from polyrank.report import live as watching
from polyrank.report.document import charting
from polyrank.report.live import FILES, LiveServer, version, watched
from polyrank.settings import toml as config
from tests.report.headless import DRAWN, PROGRAM, Chromium
from tests.small import small

ROOT = Path(__file__).parents[2]
HIDDEN = ("summary.json", "report.html")  # a run that goes on has neither
STARTING = "The run is starting"
HANG = 600  # seconds after which a test that waits for an event is taken to hang


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    folder = tmp_path_factory.mktemp("watching") / "run"
    polyrank.run(small(rounds=1), out=folder)
    return folder


@pytest.fixture
def folder(finished, tmp_path):
    """A run that goes on after round 1."""
    copy = tmp_path / "small run"
    copy.mkdir()
    for name in FILES:
        if name not in HIDDEN:
            (copy / name).write_bytes((finished / name).read_bytes())
    return copy


@pytest.fixture
def said():
    return []


@pytest.fixture
def server(folder, said):
    with watched(folder, 0, said.append) as server:
        yield server


def ask(server, path="/", method="GET", **headers):
    port = server if isinstance(server, int) else server.server_port
    with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=HANG)) as connection:
        connection.request(method, path, headers=headers)
        answer = connection.getresponse()
        return answer.status, answer.read().decode(), answer.headers


def fetch(server):
    """Ask for the page, and wait until the server's thread has seen that it went out whole."""
    ask(server)
    end = time.monotonic() + HANG
    while server.last_shown != version(server.folder) and time.monotonic() < end:
        time.sleep(0.001)


def append_round(folder, refused=()):
    lines = (folder / "rounds.jsonl").read_text().splitlines()
    record = json.loads(lines[-1])
    record |= {"round": record["round"] + 1, "refused": list(refused)}
    with (folder / "rounds.jsonl").open("a") as file:
        file.write(json.dumps(record) + "\n")


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def command(*words):
    """Run the command in this process; return its exit code and what it said."""
    out, err, code = io.StringIO(), io.StringIO(), None
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(out), redirect_stderr(err):
        patch.setattr(sys, "argv", ["polyrank", *map(str, words)])
        try:
            cli.main()
        except SystemExit as ended:
            code = ended.code
    return code or 0, out.getvalue(), err.getvalue()


def test_the_page_is_the_report_and_may_ask_only_its_server(server, folder):
    status, page, headers = ask(server)
    assert status == 200
    assert "This run is unfinished. The page shows the 1 round recorded so far." in page
    assert "; connect-src 'self'\">" in page
    assert headers["Cache-Control"] == "no-store"
    assert f'"version":"{version(folder)}"' in page


def test_the_report_file_knows_nothing_of_a_server(folder):
    page = build([read_run(folder)])
    own = page.replace(charting()[0], "")
    for only_served in ("connect-src", "/version", 'id="live"', "uirevision", 'rel="icon"'):
        assert only_served not in own


def test_the_version_changes_with_a_round_and_with_the_end(server, finished, folder):
    seen = [ask(server, "/version")[1]]
    assert ask(server, "/version")[1] == seen[0]
    append_round(folder)
    seen.append(ask(server, "/version")[1])
    assert "the 2 rounds recorded so far" in ask(server)[1]
    (folder / "summary.json").write_bytes((finished / "summary.json").read_bytes())
    seen.append(ask(server, "/version")[1])
    assert "unfinished" not in ask(server)[1]
    assert len(set(seen)) == 3


def test_the_page_is_built_once_a_version(server, folder, monkeypatch):
    built = []
    real = LiveServer._build
    monkeypatch.setattr(
        LiveServer, "_build", lambda self, current: built.append(1) or real(self, current)
    )
    threads = [threading.Thread(target=ask, args=(server,)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(built) == 1
    append_round(folder)
    ask(server)
    assert len(built) == 2


@pytest.mark.parametrize(
    "path",
    [
        "/index.html",
        "/config.toml",
        "/../config.toml",
        "/%2e%2e/x",
        "/version/",
        "/?x",
        "/version?x",
    ],
)
def test_no_other_path_is_answered(server, path):
    status, body, _ = ask(server, path)
    assert (status, body) == (404, "not found\n")


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS", "ODD"])
def test_no_other_method_is_answered(server, method):
    assert ask(server, "/", method)[0] == 404


@pytest.mark.parametrize("path", ["/", "/version"])
def test_head_gives_the_length_and_no_body(server, path):
    status, body, headers = ask(server, path, "HEAD")
    assert (status, body) == (200, "")
    assert int(headers["Content-Length"]) == len(ask(server, path)[1].encode())


@pytest.mark.parametrize(
    "host", ["evil.example", "127.0.0.1", "localhost:1", "localhost.evil:{}", ""]
)
@pytest.mark.parametrize("path", ["/", "/version"])
def test_a_request_for_another_host_is_refused(server, path, host):
    status, body, _ = ask(server, path, Host=host.format(server.server_port))
    assert status == 403
    assert body.startswith("expected the host 127.0.0.1:")


def test_the_machine_s_own_names_are_answered(server):
    for name in ("127.0.0.1", "localhost", "LocalHost"):
        assert ask(server, "/version", Host=f"{name}:{server.server_port}")[0] == 200


def test_two_host_headers_are_refused(server):
    with socket.create_connection(("127.0.0.1", server.server_port), timeout=HANG) as client:
        host = f"Host: 127.0.0.1:{server.server_port}\r\n"
        client.sendall(f"GET /version HTTP/1.1\r\n{host}{host}\r\n".encode())
        assert client.recv(1000).split()[1] == b"403"


def test_only_this_machine_s_loopback_address_is_bound(server):
    assert server.socket.getsockname()[0] == "127.0.0.1"
    with pytest.raises(OSError):
        socket.create_connection(("127.0.0.2", server.server_port), timeout=2).close()


def test_a_taken_port_is_a_settings_error(server, folder, said):
    taken = server.server_port
    with (
        pytest.raises(SettingsError, match=f"port {taken} .*another --port"),
        _serving(folder, taken),
    ):
        pass
    with pytest.raises(SettingsError, match="70000"), _serving(folder, 70000):
        pass
    code, _, err = command("watch", folder, "--port", taken)
    assert code == 2
    assert f"port {taken}" in err


@contextmanager
def _serving(folder, port):
    with watched(folder, port, print):
        yield


def test_before_the_first_round_the_page_says_that_the_run_starts(tmp_path, said):
    folder = tmp_path / "new"
    with watched(folder, 0, said.append) as server:
        assert STARTING in ask(server)[1]
        folder.mkdir()
        (folder / "config.toml").write_text('name = "x<y"\n')
        status, page, _ = ask(server)
        assert status == 200
        assert STARTING in page
        assert "x&lt;y" in page
    assert said == []


def test_an_error_is_told_once_and_the_server_goes_on(server, folder, said):
    rounds = (folder / "rounds.jsonl").read_bytes()
    (folder / "rounds.jsonl").write_text('{"round": "<b>"}\n')
    status, page, _ = ask(server)
    assert status == 500
    assert "This run cannot be shown" in page
    assert "<b>" not in page.split("<script>")[0]
    (folder / "rounds.jsonl").write_text("no json\n{}\n")
    assert ask(server)[0] == 500
    (folder / "rounds.jsonl").write_bytes(rounds)
    assert ask(server)[0] == 200
    assert len(said) == 1
    assert "rounds.jsonl, line 1: round" in said[0]


def test_an_error_outside_the_page_is_told_once_too(server, said, monkeypatch):
    monkeypatch.setattr(LiveServer, "page", lambda self: 1 / 0)
    for _ in range(2):
        with pytest.raises(http.client.BadStatusLine):
            ask(server)
    assert ask(server, "/version")[0] == 200
    assert said == ["the live view: ZeroDivisionError: division by zero"]


def test_a_reader_who_leaves_is_no_error(server, said):
    for _ in range(3):
        with socket.create_connection(("127.0.0.1", server.server_port)) as client:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
            client.sendall(f"GET / HTTP/1.1\r\nHost: {server.address[7:-1]}\r\n\r\n".encode())
    assert ask(server)[0] == 200
    assert said == []


class Clock:
    """Stands in for ``time`` where a server waits: it goes on by what is slept, and no other way.

    At each sleep the next of ``events`` is called.
    """

    def __init__(self, *events):
        self.events, self.now = list(events), 1000.0

    def monotonic(self):
        return self.now

    def sleep(self, seconds):
        self.now += seconds
        if self.events:
            self.events.pop(0)()


def test_an_open_page_may_fetch_the_end(server, folder, monkeypatch):
    clock = Clock(lambda: None, lambda: fetch(server))
    monkeypatch.setattr(watching, "time", clock)
    server.wait_for_pages()  # nobody has asked
    fetch(server)
    server.wait_for_pages()  # the last version is shown already
    assert clock.now == 1000
    append_round(folder)
    ask(server, "/version")
    server.wait_for_pages()
    assert clock.events == []
    assert server.last_shown == version(folder)


def test_a_page_that_is_closed_is_not_waited_for(server, folder, monkeypatch):
    clock = Clock()
    monkeypatch.setattr(watching, "time", clock)
    append_round(folder)
    ask(server, "/version")
    server.wait_for_pages()
    assert clock.now == pytest.approx(1000 + watching.RECENT, abs=0.1)
    clock.events = [lambda: ask(server, "/version")] * 10**4  # asks, and never fetches the page
    ask(server, "/version")
    server.wait_for_pages()
    assert clock.now == pytest.approx(1000 + watching.RECENT + watching.PATIENCE, abs=0.2)


def test_watching_needs_a_run(tmp_path):
    code, out, err = command("watch", tmp_path)
    assert code == 1
    assert "config.toml" in err
    assert out == ""


@pytest.mark.parametrize(
    ("words", "expected"), [(["--port", "1"], "--watch"), (["--watch", "--quiet"], "--port")]
)
def test_options_that_make_no_sense_alone_are_refused(words, expected):
    code, _, err = command("run", "examples/digits.toml", *words)
    assert code == 2
    assert expected in err


def test_control_c_ends_watching_with_0(folder):
    # A process that was started in the background may have been told to ignore it.
    code = (
        "import signal, sys; signal.signal(signal.SIGINT, signal.default_int_handler);"
        f"sys.argv = ['polyrank', 'watch', {str(folder)!r}];"
        "from polyrank.cli import main; main()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        line = process.stdout.readline()
        port = int(line.split("http://127.0.0.1:")[1].split("/")[0])
        assert ask(port, "/version")[0] == 200
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=HANG)
    assert process.returncode == 0
    assert (out, err) == ("", "")


def test_watching_needs_no_torch():
    code = "import sys, polyrank.report.live; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


class Reader(threading.Thread):
    """Does what the page does, from before the run's server is there until it is gone."""

    def __init__(self, port):
        super().__init__()
        self.port, self.pages, self.stop = port, [], False
        self.began = threading.Event()  # the first page is there

    def run(self):
        shown = ""
        while not self.stop:
            try:
                current = ask(self.port, "/version")[1]
                if current != shown:
                    self.pages.append(ask(self.port)[1])
                    self.began.set()
                    shown = current
            except (OSError, http.client.HTTPException):
                pass
            time.sleep(0.02)


@pytest.mark.parametrize("workers", [1, 2])
def test_a_watched_run_ends_with_the_same_bits(tmp_path, workers, monkeypatch):
    monkeypatch.chdir(ROOT)
    settings = tmp_path / "small.toml"
    settings.write_text(config.dump_settings(small(rounds=2, workers=workers)))
    assert command("run", settings, "--quiet", "--out", tmp_path / "alone")[0] == 0
    port = free_port()
    reader, run = Reader(port), api.run
    for patience in ("RECENT", "PATIENCE"):  # of a machine with much to do
        monkeypatch.setattr(watching, patience, HANG)
    monkeypatch.setattr(api, "run", lambda *a, **k: reader.began.wait(HANG) and run(*a, **k))
    reader.start()
    try:
        words = ["--json", "--watch", "--port", port, "--out", tmp_path / "seen"]
        code, out, err = command("run", settings, *words)
    finally:
        reader.stop = True
        reader.join()
    assert code == 0, err
    assert err.splitlines() == [
        f"live view: http://127.0.0.1:{port}/",
        f"report: {tmp_path / 'seen' / 'report.html'}",
    ]
    assert json.loads(out) == json.loads((tmp_path / "seen" / "summary.json").read_text())
    for name in ("summary.json", "rounds.jsonl", "clients.jsonl"):
        assert (tmp_path / "seen" / name).read_bytes() == (tmp_path / "alone" / name).read_bytes()
    assert STARTING in reader.pages[0]
    assert "unfinished" not in reader.pages[-1]
    with pytest.raises(OSError):
        ask(port, "/version")


def test_a_watched_run_finds_its_folder_as_an_unwatched_one_does(tmp_path, monkeypatch):
    settings = tmp_path / "small.toml"
    settings.write_text(config.dump_settings(small(rounds=1)))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "runs" / "small").mkdir(parents=True)
    code, out, err = command("run", settings, "--watch")
    assert code == 0, err
    assert f"report: {Path('runs/small-2/report.html')}" in out
    code, _, err = command(
        "run", "--resume", "runs/small-2", "--set", "rounds=2", "--watch", "--trust"
    )
    assert code == 0, err
    assert json.loads(Path("runs/small-2/summary.json").read_text())["rounds"] == 2


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    if not PROGRAM.exists():
        pytest.skip(f"needs Chromium at {PROGRAM}")
    with Chromium(tmp_path_factory.mktemp("profile")) as chromium:
        chromium.send(
            "Emulation.setDeviceMetricsOverride",
            width=1200, height=800, deviceScaleFactor=1, mobile=False,
        )  # fmt: skip
        yield chromium


def show(browser, address):
    browser.events.clear()
    browser.send("Page.navigate", url=address)
    browser.until(lambda: any(e["method"] == "Page.loadEventFired" for e in browser.events))


LEAD = "document.querySelector('section .warning')?.textContent ?? ''"


def test_the_page_follows_the_run_and_leaves_the_reader_in_place(browser, server, folder, finished):
    show(browser, server.address)
    assert "1 round recorded" in browser.run(LEAD)
    browser.run(
        "document.querySelector('details').open = true;"
        "window.table = () => document.querySelector('section[aria-labelledby=run0-ranks] table');"
        "table().querySelectorAll('.sort')[0].focus();"
        "table().querySelectorAll('.sort')[0].click();"
        "table().querySelectorAll('.sort')[0].click();"
        "window.old = table();"
        "window.chart = document.getElementById('run0-ranks-chart');"
        "window.zoomed = document.getElementById('run0-accuracy-chart');"
        "Plotly.relayout(zoomed, {'xaxis.range': [0, 0.5]});"
        "document.getElementById('run0-ranks').scrollIntoView({behavior: 'instant'});"
        "window.top0 = document.getElementById('run0-ranks').getBoundingClientRect().top"
    )
    append_round(folder, [{"client": "0", "reason": "made up"}])
    browser.until(lambda: "2 rounds recorded" in browser.run(LEAD))
    assert browser.run("table() !== old")
    assert browser.run("table().querySelector('th').ariaSort") == "ascending"
    assert browser.run("document.activeElement === table().querySelector('.sort')")
    assert browser.run("document.querySelector('details').open")
    assert browser.run("chart === document.getElementById('run0-ranks-chart')")
    assert browser.run("zoomed.isConnected && zoomed.layout.xaxis.range") == [0, 0.5]
    moved = "document.getElementById('run0-ranks').getBoundingClientRect().top - top0"
    assert abs(browser.run(moved)) <= 1
    drawn = browser.run(DRAWN)
    assert drawn["run0-trouble"]  # a chart that was not there before
    assert all(drawn.values()), drawn
    for name in ("clients.jsonl", "summary.json"):
        (folder / name).write_bytes((finished / name).read_bytes())
    browser.until(lambda: browser.run(LEAD) == "")  # so that all below would move up
    assert abs(browser.run(moved)) <= 1
    assert browser.run("document.getElementById('live').textContent") == "live"
    assert browser.complaints() == []
    assert {r for r in browser.requests() if not r.startswith(("data:", "blob:"))} == {
        server.address,
        f"{server.address}version",
    }


def test_nothing_is_swapped_under_a_pressed_button(browser, server, folder):
    show(browser, server.address)
    browser.run("window.dispatchEvent(new PointerEvent('pointerdown', {buttons: 1}))")
    append_round(folder)
    browser.run("new Promise(done => setTimeout(done, 2200))")
    assert "1 round recorded" in browser.run(LEAD)
    browser.run("window.dispatchEvent(new PointerEvent('pointerup', {buttons: 0}))")
    browser.until(lambda: "2 rounds recorded" in browser.run(LEAD))


def test_a_starting_page_becomes_the_report(browser, folder, tmp_path, said):
    empty = tmp_path / "empty"
    with watched(empty, 0, said.append) as server:
        show(browser, server.address)
        assert browser.run("document.querySelector('h2').textContent") == STARTING
        folder.rename(empty)
        browser.until(lambda: "1 round recorded" in browser.run(LEAD))
        assert browser.run("document.querySelectorAll('nav a').length") == 5
        browser.run("document.querySelectorAll('details').forEach(each => { each.open = true; })")
        browser.until(lambda: all(browser.run(DRAWN).values()))
        assert browser.complaints() == []


def test_the_page_says_when_nobody_answers_any_more(browser, folder, said):
    with watched(folder, 0, said.append) as server:
        show(browser, server.address)
    state = "document.getElementById('live').textContent"
    browser.until(lambda: browser.run(state).startswith("not followed any more"))
    assert "1 round recorded" in browser.run(LEAD)
