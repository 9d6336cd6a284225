"""The unit with which a client's host starts it."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.commands import command

PAGE = Path(__file__).parents[3] / "docs" / "how-to" / "deploy.md"


def unit(page: str) -> str:
    (found,) = re.findall(r"```ini title=\"polyrank-join.service\"\n(.*?)```", page, re.DOTALL)
    return found


@pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="systemd is not installed")
def test_systemd_has_nothing_to_say_against_the_unit_of_the_page(tmp_path):
    path = tmp_path / "polyrank-join.service"
    written = unit(PAGE.read_text(encoding="utf-8"))
    path.write_text(written.replace("/opt/polyrank/bin/polyrank", sys.executable))
    checked = subprocess.run(
        ["systemd-analyze", "verify", path], capture_output=True, text=True, check=False
    )
    assert (checked.returncode, checked.stderr) == (0, "")


def test_the_options_of_the_unit_are_those_of_the_command():
    (line,) = re.findall(r"ExecStart=\S+ join (.*)", unit(PAGE.read_text(encoding="utf-8")))
    known = command("polyrank join --help", 0)
    for option in re.findall(r"--\S+", line):
        assert option in known
