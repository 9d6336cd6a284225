"""How worker processes start: from a server that has imported what they need. Torch-free."""

import multiprocessing
from multiprocessing import forkserver
from multiprocessing.context import ForkServerContext

NEEDED = ("polyrank.engines.pool", "peft")  # by every worker; the first keeps the second quiet


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
