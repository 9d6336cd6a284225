"""How worker processes start: from a server that has imported what they need. Torch-free."""

import multiprocessing
import sys
from multiprocessing import forkserver
from multiprocessing.context import ForkServerContext
from pathlib import Path

from polyrank.errors import SettingsError

NEEDED = ("polyrank.engines.pool", "peft")  # by every worker; the first keeps the second quiet


def main_can_be_imported() -> bool:
    """Whether a worker may import the script that runs here, as it is guarded, or there is none."""
    script = getattr(sys.modules["__main__"], "__file__", None)
    if script is None or Path(script).name == "__main__.py":
        return True
    try:
        return "__main__" in Path(script).read_text(encoding="utf-8", errors="replace")
    except OSError:
        return False


def check_script(asked: str) -> None:
    """Check that worker processes can be started from the script that runs here.

    Args:
        asked: what needs them.

    Raises:
        SettingsError: they would import it, and in each of them it would start again.
    """
    if not main_can_be_imported():
        script = sys.modules["__main__"].__file__
        raise SettingsError(
            f"{asked} needs new processes, and they import the script, {script}: expected the call "
            'below `if __name__ == "__main__":` in a file, found no such '
            f"{'line' if Path(str(script)).is_file() else 'file'}"
        )


def fork_context(*more: str) -> ForkServerContext:
    """Return the way in which workers start; the server imports what they need once.

    Args:
        more: modules that they need beside those of every worker.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([*NEEDED, *more])
    return context


def load_early() -> None:
    """Let the server begin to import, beside whatever this process does."""
    fork_context()
    forkserver.ensure_running()
