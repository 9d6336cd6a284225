"""Progress in a notebook is one card, written in place."""

import subprocess
import sys

import pytest

import polyrank
from polyrank.console.notebook import InNotebook, notebook_watcher
from tests.small import small


def test_a_run_is_shown_as_one_card_that_ends_with_its_rounds(tmp_path):
    cards = []
    watcher = InNotebook(cards.append)
    watcher.note("a note of <b>somebody</b>")
    polyrank.run(small(), out=tmp_path / "run", watcher=watcher)
    assert any("<progress" in card and "of 4 clients" in card for card in cards)
    last = cards[-1]
    assert "a note of &lt;b&gt;somebody" in last
    assert [f"round {n}/3" in last for n in range(4)] == [True] * 4
    assert max(map(len, cards)) < 2000


def test_outside_of_a_notebook_nothing_is_shown(capsys, tmp_path):
    assert notebook_watcher() is None
    polyrank.run(small(rounds=1), out=tmp_path / "run")
    assert capsys.readouterr().out == ""


def test_in_a_kernel_the_card_is_shown_and_renewed():
    pytest.importorskip("IPython")
    code = """
from IPython.core.interactiveshell import InteractiveShell
from IPython.core.displaypub import CapturingDisplayPublisher
from polyrank.console.notebook import notebook_watcher
shell = InteractiveShell.instance()
assert notebook_watcher() is None  # a terminal
shell.kernel = object()
shell.display_pub = CapturingDisplayPublisher()
watcher = notebook_watcher()
watcher.stage("round 1/2")
watcher.turn("a", 1, 4)
outs = shell.display_pub.outputs
print([out.get("update", False) for out in outs], "1 of 4 clients" in str(outs[-1]["data"]))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[False, True, True] True"
