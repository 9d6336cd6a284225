"""The page in a browser: what is drawn, what is asked for, and how it fits."""

import base64
import json
import re

import pytest

from polyrank.report import write_report
from tests.report.headless import DRAWN, PROGRAM, Chromium
from tests.written import whole_client

pytestmark = pytest.mark.skipif(not PROGRAM.exists(), reason=f"needs Chromium at {PROGRAM}")
COLOUR = "document.querySelector('#run0-ranks-chart .bars .point path').style.fill"
NEEDS = "document.documentElement.scrollWidth"
UNFOLD = "document.querySelectorAll('details').forEach(each => { each.open = true; })"
EVIL = ("</script><script>alert(1)</script>", "<b>bold</b>", "=1+1", 'quoted, "so"')


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    with Chromium(tmp_path_factory.mktemp("profile")) as chromium:
        yield chromium


@pytest.fixture
def report(run_folder, tmp_path):
    return write_report([run_folder], tmp_path / "report.html")


def local(addresses):
    return all(address.startswith(("file:", "data:", "blob:")) for address in addresses)


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1440, 390])
def test_every_figure_is_drawn_and_the_page_fits(browser, report, width, scheme):
    browser.open(report, width, scheme=scheme)
    drawn = browser.run(DRAWN)
    folded = {f"run0-{key}" for key in ("loss", "contributions", "weights")}
    assert len(drawn) == 12
    assert {key for key, done in drawn.items() if not done} == folded
    browser.run(UNFOLD)
    browser.until(lambda: all(browser.run(DRAWN).values()))
    assert browser.run(NEEDS) <= width
    assert browser.complaints() == []
    assert local(browser.requests())


def test_the_page_of_a_language_model_is_drawn(browser, make_run, tmp_path):
    folder = make_run("talk", rounds=5, language=True)
    browser.open(write_report([folder], tmp_path / "report.html"), 390)
    browser.run(UNFOLD)
    browser.until(lambda: all(browser.run(DRAWN).values()))
    assert {"run0-perplexity", "run0-client-perplexity"} < set(browser.run(DRAWN))
    assert browser.run(NEEDS) <= 390
    assert browser.complaints() == []


@pytest.mark.parametrize("width", [1440, 390])
def test_slots_of_many_modules_with_long_names_fit(browser, make_run, tmp_path, width):
    folder = make_run("slots", rounds=4)
    modules = [f"bert.encoder.layer.{i}.attention.self.query" for i in range(48)]
    with (folder / "clients.jsonl").open("a", encoding="utf-8") as lines:
        for number in (2, 3):
            slots = {module: [*range(number, i % 9)] for i, module in enumerate(modules)}
            told = {"slots": slots, "ranks": {m: len(own) for m, own in slots.items()}}
            line = {"event": "ranks", "round": number, "client": "0", **told}
            lines.write(json.dumps(whole_client(line)) + "\n")
    browser.open(write_report([folder], tmp_path / "report.html"), width)
    drawn = browser.run(DRAWN)
    assert drawn["run0-slots-left"]
    names = "document.querySelectorAll('#run0-slots-left-chart .ytick text')"
    shown = browser.run(f"Array.from({names}, at => at.textContent)")
    assert "47…self.query" in shown
    assert browser.run(NEEDS) <= width
    assert browser.complaints() == []


BY_NEED = {f"run0-{name}" for name in ("truncation", "server-slots", "sent-history")}


@pytest.mark.parametrize(("width", "scheme"), [(1440, "light"), (390, "dark")])
def test_a_run_by_need_is_drawn_whatever_its_clients_and_modules_are_called(
    browser, make_run, tmp_path, width, scheme
):
    modules = [*EVIL, *(f"bert.encoder.layer.{i}.attention.self.query" for i in range(44))]
    folder = make_run("need", clients=EVIL, rounds=30, by_need=modules)
    browser.open(write_report([folder], tmp_path / "report.html"), width, scheme=scheme)
    browser.run(UNFOLD)
    browser.until(lambda: all(browser.run(DRAWN).values()))
    drawn = browser.run(DRAWN)
    assert BY_NEED | {"run0-sent-modules", "run0-sent-clients"} < set(drawn)
    assert "run0-ranks" not in drawn
    ticks = "document.querySelectorAll('#run0-sent-history-chart .ytick text')"
    shown = browser.run(f"Array.from({ticks}, at => at.textContent)")
    assert set(shown) == {"</script><scrip…", "<b>bold</b>", "=1+1", 'quoted, "so"'}
    assert browser.run(NEEDS) <= width
    assert browser.complaints() == []


def test_a_thousand_clients_by_need_fit(browser, make_run, tmp_path):
    names = tuple(f"hospital {i}" for i in range(1000))
    folder = make_run("big", clients=names, rounds=5, by_need=["a", "b"])
    browser.open(write_report([folder], tmp_path / "report.html"), 390)
    browser.run(UNFOLD)
    browser.until(lambda: all(browser.run(DRAWN).values()))
    assert browser.run(NEEDS) <= 390
    assert browser.complaints() == []


def test_a_thousand_clients_and_77_labels_fit(browser, make_run, tmp_path):
    names = tuple(f"hospital {i}" for i in range(1000))
    folder = make_run("big", clients=names, labels=77, rounds=3, levels=3)
    browser.open(write_report([folder], tmp_path / "report.html"), 390)
    browser.run(UNFOLD)
    browser.until(lambda: all(browser.run(DRAWN).values()))
    assert browser.run(NEEDS) <= 390
    assert browser.complaints() == []


def test_charts_follow_a_change_of_scheme(browser, report):
    browser.open(report, scheme="light")
    assert browser.run(COLOUR) == "rgb(0, 114, 178)"
    browser.prefer("dark")
    browser.until(lambda: browser.run(COLOUR) == "rgb(78, 168, 224)")


def test_paper_is_light_and_charts_fit_on_it(browser, report):
    browser.open(report, scheme="dark")
    browser.run("window.dispatchEvent(new Event('beforeprint'))")
    assert browser.run(COLOUR) == "rgb(0, 114, 178)"
    widths = "Array.from(document.querySelectorAll('svg.main-svg'), svg => svg.clientWidth)"
    assert max(browser.run(widths)) <= 680
    browser.run("window.dispatchEvent(new Event('afterprint'))")
    assert browser.run(COLOUR) == "rgb(78, 168, 224)"


def test_a_chart_is_printed_alone_on_a_page_of_its_size(browser, report):
    browser.open(report)
    browser.run("window.print = () => { window.printed = true; }")
    box = "document.querySelector('[data-figure=\"run0-ranks\"]')"
    browser.run(f"{box}.querySelector('[data-title^=\"Print this chart\"]').click()")
    assert browser.run("window.printed")
    browser.run("window.dispatchEvent(new Event('beforeprint'))")
    page = base64.b64decode(browser.send("Page.printToPDF", preferCSSPageSize=True)["data"])
    sizes = re.findall(rb"/MediaBox \[0 0 ([\d.]+) ([\d.]+)\]", page)
    assert len(sizes) == 1
    points = [float(side) * 96 / 72 for side in sizes[0]]
    assert points == pytest.approx([650, browser.run(f"{box}.clientHeight") + 1], abs=2)
    assert b"/Subtype /Image" not in page  # vectors
    browser.run("window.dispatchEvent(new Event('afterprint'))")
    assert browser.run("document.querySelectorAll('.alone').length") == 0
    assert browser.complaints() == []


def test_details_of_a_run_are_drawn_when_opened(browser, make_run, tmp_path):
    folders = [make_run(f"r{seed}", seed=seed, rounds=2) for seed in range(2)]
    browser.open(write_report(folders, tmp_path / "report.html"))
    drawn = browser.run(DRAWN)
    assert {key for key, done in drawn.items() if done} == {
        "accuracy-compared",
        "accuracy-by-bytes",
        "loss-compared",
        "price",
    }
    browser.run("document.querySelector('nav a[href=\"#run1\"]').click()")
    browser.until(lambda: browser.run(DRAWN)["run1-ranks"])
    assert not browser.run(DRAWN)["run1-loss"]  # that is folded once more
    assert not browser.run(DRAWN)["run0-ranks"]
    assert browser.complaints() == []


def test_names_are_shown_as_they_are(browser, make_run, tmp_path):
    folder = make_run("evil", clients=EVIL, rounds=2, name="<i>x</i>")
    browser.open(write_report([folder], tmp_path / "report.html"))
    ticks = "Array.from(document.querySelectorAll('#run0-ranks-chart .xtick'), t => t.textContent)"
    assert set(browser.run(ticks)) == {"</script><scrip…", "<b>bold</b>", "=1+1", 'quoted, "so"'}
    assert browser.run("document.querySelector('h1').textContent") == "<i>x</i>"
    assert browser.complaints() == []


def test_csv_quotes_and_keeps_spreadsheets_from_running_names(browser, make_run, tmp_path):
    folder = make_run("evil", clients=EVIL, rounds=2)
    browser.open(write_report([folder], tmp_path / "report.html"))
    browser.run(
        "URL.createObjectURL = blob => { window.saved = blob; return '#'; };"
        "document.querySelector('[data-csv=\"run0-sizes\"]').click()"
    )
    lines = browser.run("window.saved.text()").splitlines()
    assert lines[0].removeprefix("\ufeff") == "client,train,test"
    assert {line.rsplit(",", 2)[0] for line in lines[1:]} == {
        "</script><script>alert(1)</script>",
        "<b>bold</b>",
        "'=1+1",
        '"quoted, ""so"""',
    }


def test_the_keyboard_reaches_the_report_and_sorts_a_table(browser, report):
    browser.open(report)
    browser.press("Tab", 9)
    assert browser.run("document.activeElement.className") == "skip"
    browser.press("Enter", 13)
    browser.until(lambda: browser.run("document.activeElement.id") == "main")
    table = "document.querySelectorAll('table')[2]"
    browser.run(f"{table}.querySelectorAll('.sort')[0].focus()")
    first = f"Array.from({table}.tBodies[0].rows, row => row.cells[0].textContent)"
    for direction, names in (("descending", range(11, -1, -1)), ("ascending", range(12))):
        browser.press("Enter", 13)
        browser.until(
            lambda way=direction: (
                browser.run(f"{table}.querySelector('[aria-sort]')?.ariaSort") == way
            )
        )
        assert browser.run(first) == [str(name) for name in names]


def test_the_policy_stops_what_would_load_or_run(browser, report):
    browser.open(report)
    browser.run(
        "new Promise(done => {"
        " window.stopped = [];"
        " document.addEventListener('securitypolicyviolation', event => {"
        "   window.stopped.push(event.effectiveDirective);"
        "   if (window.stopped.length === 3) done(); });"
        " const script = document.createElement('script');"
        " script.textContent = 'window.ran = true';"
        " document.body.append(script);"
        " new Image().src = 'http://127.0.0.1:9/x.png';"
        " fetch('http://127.0.0.1:9/').catch(() => {}); })"
    )
    assert sorted(browser.run("window.stopped")) == ["connect-src", "img-src", "script-src-elem"]
    assert browser.run("window.ran") is None


def test_an_error_in_the_page_would_be_seen(browser, tmp_path):
    page = tmp_path / "broken.html"
    page.write_text("<!doctype html><script>missing()</script>")
    browser.open(page)
    assert "missing is not defined" in json.dumps(browser.complaints())
