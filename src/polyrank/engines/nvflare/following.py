"""The admin's side of a run: start its jobs, show its progress, copy its folder."""

import tempfile
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from polyrank import errors
from polyrank.console.progress import Watcher
from polyrank.engines.nvflare.console import Console
from polyrank.engines.nvflare.events import replay
from polyrank.engines.nvflare.jobs import write_job
from polyrank.engines.nvflare.mirror import Mirror
from polyrank.engines.nvflare.request import Request
from polyrank.engines.nvflare.returning import Returning, connected
from polyrank.errors import FederationError, PolyRankError
from polyrank.record.run_folder import Elsewhere, RunFolder

LOOK = 0.2  # seconds between two questions for news
STARTING = 240.0  # seconds in which a job must begin; a busy machine imports slowly
FINDING = 30.0  # seconds in which hosts may find a server that was started again
SILENCE = 60.0  # seconds without an answer after which the server is given up

T = TypeVar("T")


class JobEndedError(FederationError):
    """A job has ended, or never begun, and asking again is of no use."""


class Following:
    """One run on a federation, as its admin sees it.

    Args:
        console: connected to the server.
        request: what is to run.
        folder: of the admin's copy.
        where: what the copy says of the federation, once something is saved there.
        watcher: is told of the progress.
    """

    def __init__(
        self,
        console: Console,
        request: Request,
        folder: RunFolder,
        where: Elsewhere,
        watcher: Watcher,
    ) -> None:
        self._console, self._request, self._watcher = console, request, watcher
        self._folder, self._where, self._job = folder, where, ""
        self._mirror = Mirror(folder.path, self._asked)

    def to_the_end(self) -> None:
        """Run until the end; what was saved is copied, whatever happens.

        Raises:
            PolyRankError: of the kind that ended the run.
        """
        while self._one_job() == "paused":
            pass

    def _one_job(self) -> str:
        earlier = None if self._job else self._console.running(self._request.run)
        self._job = earlier or self._submit()
        try:
            outcome = self._follow()
        except BaseException:
            self._console.abort(self._job)
            raise
        if outcome["ended"] == "failed":
            found = getattr(errors, str(outcome.get("kind")), None)
            known = isinstance(found, type) and issubclass(found, PolyRankError)
            raise (found if known and found else FederationError)(str(outcome.get("reason")))
        return str(outcome["ended"])

    def _submit(self) -> str:
        wanted = self._request.clients.values()
        patience = 0.0 if self._job else FINDING  # later jobs are for those that are there
        there = connected(self._console.sites, wanted, patience)
        hosts = [host for host in wanted if host in there]
        if not hosts:
            raise FederationError("expected at least one client's host, none is connected")
        with tempfile.TemporaryDirectory() as folder:
            write_job(Path(folder) / "run", replace(self._request, there=hosts))
            return self._console.submit(Path(folder) / "run")

    def _follow(self) -> Mapping[str, Any]:
        """Show what the job tells until it ends; return how it did."""
        seen, begun, since = 0, False, time.monotonic()
        returning = Returning(self._console, self._request.clients)
        while True:
            news = self._patiently(
                partial(self._console.command, self._job, "follow", {"from": seen})
            )
            if not news:
                self._patiently(partial(self._check_runs, begun, since))
                time.sleep(LOOK)
                continue
            begun, since = True, time.monotonic()
            for event in news["events"]:
                replay(event, self._watcher)
            seen += len(news["events"])
            if news["outcome"]:
                self._mirror.copy_all(news["files"])
                self._saved()
                self._console.command(self._job, "bye", {})
                return dict(news["outcome"])
            self._mirror.copy_records(news["files"])
            if any(name.startswith("checkpoint/round-") for name in news["files"]):
                self._saved()
            if back := returning.back(news["lost"]):
                self._watcher.note(f"back again: {', '.join(back)}; going on with a new job")
                self._console.command(self._job, "pause", {})
            time.sleep(LOOK)

    def _patiently(self, ask: Callable[[], T]) -> T:
        """Ask the server, again for a while if it does not answer.

        Raises:
            FederationError: it gave no answer for too long, or one that says no.
        """
        end = time.monotonic() + SILENCE
        while True:
            try:
                return ask()
            except JobEndedError:
                raise
            except FederationError:
                if time.monotonic() > end:
                    raise
            with suppress(FederationError):
                self._console.again()

    def _saved(self) -> None:
        """Say in the copy where the run goes on, now that it can be resumed there."""
        if self._folder.elsewhere != self._where:
            self._folder.write_elsewhere(self._where)

    def _check_runs(self, begun: bool, since: float) -> None:
        """Raise JobEndedError where the job has ended, or has been silent for too long."""
        status = self._console.status(self._job)
        silent = time.monotonic() - since
        over = "FINISHED" in status or status in ("FAILED", "ABORTED", "ABANDONED")
        if over or (begun and silent > SILENCE):  # one that is busy may leave a question open
            raise JobEndedError(
                f"the server's job ended without a word ({status}): its process or its server "
                "was killed; what was saved can be resumed"
            )
        if silent > STARTING:
            raise JobEndedError(f"the job did not begin in {STARTING:g} s ({status})")

    def _asked(self, do: str, told: Mapping[str, Any]) -> Mapping[str, Any]:
        answer = self._console.command(self._job, do, told)
        if answer is None:
            raise FederationError("the server's job ended before its files were copied")
        return answer
