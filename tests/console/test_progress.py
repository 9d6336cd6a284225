import io
import re

from rich.console import Console

import polyrank
from polyrank.console.progress import Shown
from tests.small import small


def shown(start) -> list[str]:
    file = io.StringIO()
    with Shown(Console(file=file, width=80)) as watcher:
        start(watcher)
    return [line for line in file.getvalue().splitlines() if line]


def test_plain_lines_where_there_is_no_terminal(tmp_path):
    lines = shown(lambda watcher: polyrank.run(small(), out=tmp_path / "run", watcher=watcher))
    assert [line.split("  ")[0] for line in lines] == [
        "data and model",
        "measuring clients",
        *(f"round {number}/3" for number in range(4)),
        "clients' own test rows",
    ]
    assert "  before training  " in lines[2]
    assert max(map(len, lines)) <= 80
    assert not any("\x1b" in line for line in lines)


def test_bytes_go_on_after_a_resume(tmp_path):
    whole = shown(lambda w: polyrank.run(small(rounds=3), out=tmp_path / "whole", watcher=w))
    polyrank.run(small(rounds=2), out=tmp_path / "run")
    rest = shown(
        lambda w: polyrank.resume(tmp_path / "run", overrides=["rounds=3"], watcher=w, trust=True)
    )
    assert rest == [whole[0], *whole[-2:]]


def test_a_terminal_gets_a_live_line_with_the_clients_of_the_round(tmp_path):
    file = io.StringIO()
    console = Console(
        file=file, width=80, force_terminal=True, no_color=True, _environ={"TERM": "xterm"}
    )
    with Shown(console) as watcher:
        polyrank.run(small(rounds=1), out=tmp_path / "run", watcher=watcher)
    assert "round 1/1" in file.getvalue()
    assert "data and model\n" not in file.getvalue()  # in the live line only
    assert "4/4 clients" in re.sub(r"\x1b\[[0-9;]*m", "", file.getvalue())
