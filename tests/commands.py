"""Command lines as a document shows them."""

import contextlib
import io
import os
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from polyrank import cli

BIN = str(Path(sys.executable).parent)


def command(line: str, code: int) -> str:
    """Run one command line, see that it ends as it should, and return what it printed.

    ``polyrank`` runs in this process, anything else by bash.
    """
    words = shlex.split(line)
    if words[0] != "polyrank" or {"|", ">", "&&"} & set(words):
        path = f"{BIN}{os.pathsep}{os.environ['PATH']}"
        done = subprocess.run(
            ["bash", "-c", line], capture_output=True, text=True, env={**os.environ, "PATH": path}
        )
        assert done.returncode == code, f"{line}\n{done.stdout}{done.stderr}"
        return done.stdout + done.stderr
    said = io.StringIO()
    ended: Any = 0
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", words)
        with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
            try:
                cli.main()
            except SystemExit as exit_:
                ended = exit_.code or 0
    assert ended == code, f"{line}\n{said.getvalue()}"
    return said.getvalue()
