"""The pages in docs/ are run as a reader would run them, in order, in an empty folder.

What a page shows is checked by its kind:

- ``sh``: the commands are run; ``polyrank`` in this process, the others by bash.
- ``python``: run, with one namespace for a page.
- any language with ``title="NAME"``: the block is the file NAME.
- ``toml`` without a title: a part of a settings file, checked as such.
- ``text``: what the block before printed; ``...`` stands for lines that are left out.
- ``formula``: to be read, there is nothing to run.

A comment above a block changes that: ``<!-- test: exit 2 -->`` (every command ends so),
``<!-- test: numbers vary -->`` (training differs a little between machines;
bytes, ranks and whole numbers do not, see ``tests/printed.py``), ``<!-- test: not run: REASON -->``
(shown as skipped). With ``DOCS_EXACT=1`` in the environment all numbers must agree to the digit.
``DOCS_WRITE=1`` writes the numbers that were printed into the pages.
"""

import contextlib
import importlib
import io
import os
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import docs_gallery
import docs_reference
import pytest

from polyrank.settings.toml import make_settings
from tests.commands import command
from tests.printed import as_printed, shown_is_printed

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"
BIN = str(Path(sys.executable).parent)
PAGES = sorted(str(path.relative_to(DOCS)) for path in DOCS.rglob("*.md"))
BLOCK = re.compile(
    r"(?:^<!-- test: (?P<mark>[^\n]+?) -->\n+)?^```(?P<language>\w+)(?P<rest>[^\n]*)\n"
    r"(?P<body>.*?)^```$",
    flags=re.DOTALL | re.MULTILINE,
)
MARKS = re.compile(r"exit \d+|numbers vary|not run: .+")
NOISE = pytest.mark.filterwarnings("ignore:Could not find a config file")
PEFT_SAYS = pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated")


@dataclass(frozen=True)
class Block:
    page: str
    language: str
    body: str
    title: str | None
    mark: str

    def __str__(self) -> str:
        return f"{self.page}: {self.body.splitlines()[0]}"


def blocks(page: str) -> Iterator[Block]:
    for found in BLOCK.finditer((DOCS / page).read_text(encoding="utf-8")):
        title = re.search(r'title="([^"]+)"', found["rest"])
        yield Block(page, found["language"], found["body"], title and title[1], found["mark"] or "")


ALL = [block for page in PAGES for block in blocks(page)]
NOT_RUN = [block for block in ALL if block.mark.startswith("not run")]


@NOISE
@PEFT_SAYS
@pytest.mark.parametrize("page", [p for p in PAGES if any(b.page == p for b in ALL)])
def test_what_the_page_shows_is_what_happens(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    modules = set(sys.modules)
    reader = Reader()
    try:
        for block in blocks(page):
            reader.take(block)
    finally:
        for name in set(sys.modules) - modules:
            if str(getattr(sys.modules[name], "__file__", "")).startswith(str(tmp_path)):
                del sys.modules[name]


@pytest.mark.parametrize("block", NOT_RUN, ids=str)
def test_blocks_that_are_not_run(block):
    pytest.skip(block.mark)


class Reader:
    """Does what a page says, in the folder it is in."""

    def __init__(self) -> None:
        self.names: dict[str, Any] = {"__name__": "docs"}
        self.printed = ""

    def take(self, block: Block) -> None:
        if block in NOT_RUN or block.language == "formula":
            return
        if block.title:
            Path(block.title).write_text(block.body, encoding="utf-8")
            importlib.invalidate_caches()
        elif block.language == "sh":
            code = int(block.mark.removeprefix("exit ")) if block.mark.startswith("exit") else 0
            body = block.body.replace("\\\n", " ")
            self.printed = "".join(command(line, code) for line in body.splitlines() if line)
        elif block.language == "python":
            said = io.StringIO()
            with contextlib.redirect_stdout(said):
                exec(compile(block.body, str(block), "exec"), self.names)
            self.printed = said.getvalue()
        elif block.language == "toml":
            make_settings(tomllib.loads(block.body), where=str(block))
        elif block.language == "text":
            body = block.body
            if "DOCS_WRITE" in os.environ:
                body = as_printed(body, self.printed)
                path = DOCS / block.page
                text = path.read_text(encoding="utf-8")
                now = text.replace(f"```text\n{block.body}```", f"```text\n{body}```", 1)
                path.write_text(now, encoding="utf-8")
            vary = block.mark == "numbers vary"
            shown_is_printed(body, self.printed, block.page, vary=vary)
        else:
            raise AssertionError(f"{block}: what is a block of {block.language!r}?")


def test_every_mark_is_one_that_the_tests_know():
    for page in PAGES:
        text = (DOCS / page).read_text(encoding="utf-8")
        for mark in re.findall(r"<!-- test: (.*?) -->", text):
            assert MARKS.fullmatch(mark), f"{page}: {mark}"
        assert text.count("<!-- test:") == sum(bool(block.mark) for block in blocks(page)), page
        assert text.count("```") == 2 * len(list(blocks(page))), f"{page}: an odd block"


def test_a_wrong_output_on_a_page_is_noticed():
    shown = "a 1\n...\nc 3\n"
    shown_is_printed(shown, "a 1\nb 2\nc 3\n", "page")
    for printed in ("a 1\nb 2\n", "a 2\nc 3\n", "a 1\nc 3\nd\n", "x\na 1\nc 3\n"):
        with pytest.raises(AssertionError):
            shown_is_printed(shown, printed, "page")


ROUND = "round 2/6  accuracy 0.3510  loss 1.7693  8 clients  172.4 kB"
ENDED = "accuracy  0.35 at the end, 0.36 in round 5\nworst client  0.21 (client 4)\n[0, 1]"


@pytest.mark.parametrize(
    ("shown", "printed", "same"),
    [
        (ROUND, ROUND.replace("0.3510", "0.4510").replace("1.7693", "1.2"), True),
        (ENDED, ENDED.replace("35", "25").replace("round 5", "round 6").replace("4)", "7)"), True),
        (ENDED, ENDED.replace("[0, 1]", "[0, 2]"), True),
        (ROUND, ROUND.replace("172.4", "172.5"), False),
        (ROUND, ROUND.replace("8 clients", "7 clients"), False),
        ("mean rank     6.00 (autorank)", "mean rank     6.01 (autorank)", False),
        ("sent  1.26 MB up, 900 B down", "sent  1.25 MB up, 900 B down", False),
        ("sent  1.26 MB up, 900 B down", "sent  1.26 MB up, 901 B down", False),
        ("0  394  9  0.999  16  10  0.909", "0  394  9  0.899  16  10  0.9", True),
        ("0  394  9  0.999  16  10  0.909", "0  394  9  0.999  16   9  0.909", False),
        ("0 {'fc1': 16} position 1 of 8", "0 {'fc1': 15} position 1 of 8", False),
    ],
)
def test_where_numbers_vary_bytes_and_ranks_and_counts_do_not(monkeypatch, shown, printed, same):
    monkeypatch.delenv("DOCS_EXACT", raising=False)
    if same:
        shown_is_printed(shown, printed, "page", vary=True)
        with pytest.raises(AssertionError):
            shown_is_printed(shown, printed, "page")
    else:
        with pytest.raises(AssertionError):
            shown_is_printed(shown, printed, "page", vary=True)


def test_the_numbers_that_were_printed_are_written_down():
    printed = "a 7\nb 2\n10  0.25\nc 8\n9  0.5  3\n"
    assert as_printed("a 1\n...\n12  0.5\n...\n8  0.1  2\n", printed) == (
        "a 7\n...\n10  0.25\n...\n9  0.5  3\n"
    )
    last = "...\nround 2/2  loss 0.5  8.0 kB\n"
    assert as_printed(last, "round 1/2  loss 0.7  4.0 kB\nround 2/2  loss 0.6  8.5 kB\n") == (
        last.replace("0.5", "0.6").replace("8.0", "8.5")
    )
    assert as_printed("a 1\nno such line 1\nb 1\n", printed) == "a 7\nno such line 1\nb 2\n"


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_somewhere(page):
    text = (DOCS / page).read_text(encoding="utf-8")
    for target in re.findall(r"\]\(([^)\s]+)\)", re.sub(r"```.*?```", "", text, flags=re.DOTALL)):
        assert not target.startswith("/"), f"{page}: {target}"
        if re.match(r"https?://", target):
            continue
        if target in {place for place, _ in docs_gallery.gallery()}:
            continue  # written while the site is built
        path, _, anchor = target.partition("#")
        found = (DOCS / page).parent / path if path else DOCS / page
        assert found.is_file(), f"{page}: {target}"
        if anchor:
            filled = docs_reference.on_page_markdown(found.read_text(encoding="utf-8"))
            heads = re.findall(r"^#+ (.+)$", filled, flags=re.MULTILINE)
            assert anchor in {slug(head) for head in heads}, f"{page}: {target}"


def slug(heading: str) -> str:
    """As the Markdown extension ``toc`` does it."""
    kept = re.sub(r"[^\w\s-]", "", heading).strip().lower()
    return re.sub(r"[-\s]+", "-", kept)


def test_nothing_on_a_page_is_loaded_from_elsewhere():
    for page in PAGES:
        text = (DOCS / page).read_text(encoding="utf-8")
        assert not re.search(r"<(script|img|link|iframe)|!\[[^\]]*\]\(http", text), page


def test_every_page_is_in_the_menu():
    menu = re.findall(r": ([\w/-]+\.md)$", (ROOT / "mkdocs.yml").read_text(), flags=re.MULTILINE)
    assert sorted(menu) == PAGES


@pytest.mark.skipif(not shutil.which("mkdocs", path=BIN), reason="needs pip install '.[docs]'")
def test_the_site_builds_and_loads_nothing_from_elsewhere(tmp_path):
    words = ["mkdocs", "build", "--strict", "--quiet", "--site-dir", str(tmp_path / "site")]
    env = {**os.environ, "NO_MKDOCS_2_WARNING": "1"}
    done = subprocess.run(
        [str(Path(BIN) / words[0]), *words[1:]], cwd=ROOT, env=env, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    built = list((tmp_path / "site").rglob("*.html"))
    assert len(built) > len(PAGES)
    loads = re.compile(
        r"<(?:script|img|iframe)[^>]*\bsrc=[\"']?(?:https?:)?//|<link[^>]*\bhref=[\"']?(?:https?:)?//"
    )
    for page in built:
        found = loads.search(page.read_text(encoding="utf-8"))
        assert not found, f"{page.name}: {found}"
    for place, report in docs_gallery.gallery():
        assert (tmp_path / "site" / place).read_text(encoding="utf-8") == report
    assert "<h2" in (tmp_path / "site/changes.html").read_text(encoding="utf-8")
    for name in ("settings", "commands", "methods", "errors"):
        assert "<table>" in (tmp_path / "site/reference" / f"{name}.html").read_text()
