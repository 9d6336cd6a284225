"""A process of its own for a test, forked from one that has imported torch and PEFT already."""

import multiprocessing
from collections.abc import Callable
from multiprocessing.process import BaseProcess

CONTEXT = multiprocessing.get_context("forkserver")


def started(does: Callable[..., None], *args: object) -> BaseProcess:
    """Call a function of a module in a process of its own."""
    CONTEXT.set_forkserver_preload(["polyrank.engines.pool"])  # as worker processes do
    process = CONTEXT.Process(target=does, args=args)
    process.start()
    return process


def exit_code(does: Callable[..., None], *args: object) -> int | None:
    """Call a function of a module in a process of its own, and return what that ended with."""
    process = started(does, *args)
    process.join()
    return process.exitcode
