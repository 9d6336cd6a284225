"""An admin's connection to a federation: start a job, give it commands, end it."""

import contextlib
import io
import json
import logging
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from nvflare.fuel.flare_api.api_spec import InternalError, JobNotRunning, NoReply
from nvflare.fuel.flare_api.flare_api import Session, new_secure_session

from polyrank.engines.nvflare.controller import COMMAND
from polyrank.engines.nvflare.kits import ADMIN, Kit
from polyrank.errors import FederationError

CONNECTING = 30.0  # seconds in which the server must answer
ASKING = 20.0  # seconds in which it must answer a command


class Console:
    """An admin's session with the server.

    Args:
        kit: the admin's.
        seconds: after which a server that does not answer is given up.

    Raises:
        FederationError: there is no answer, or the server refuses this kit.
    """

    def __init__(self, kit: Kit, seconds: float = CONNECTING) -> None:
        self.kit = kit
        self._session = self._connected(time.monotonic() + seconds)
        self._session.set_timeout(ASKING)

    def _connected(self, end: float) -> Session:
        while True:
            try:
                with _silenced():
                    return new_secure_session(ADMIN, str(self.kit.path), timeout=5.0)
            except Exception as error:
                if time.monotonic() > end:
                    hosts = self.kit.hosts
                    raise FederationError(
                        f"expected a server at {hosts.server}:{hosts.port}, got none that answers "
                        f"this kit: {type(error).__name__}: {error}"
                    ) from error
            time.sleep(0.2)

    def sites(self) -> dict[str, float]:
        """Return the hosts of clients that are connected, and when each was last heard of."""
        with _told("the server gave no list of its sites"):
            info = self._session.get_system_info()
        return {site.name: float(site.last_connect_time) for site in info.client_info}

    def submit(self, folder: Path) -> str:
        """Submit a job and return its id."""
        with _told("the server took no job"):
            return str(self._session.submit_job(str(folder)))

    def running(self, name: str) -> str | None:
        """Return the id of the job of that name that runs, None if there is none."""
        with _told("the server gave no list of its jobs"):
            for job in self._session.get_system_info().job_info:
                if self._session.get_job_meta(job.job_id).get("name") == name:
                    return str(job.job_id)
        return None

    def again(self) -> None:
        """Connect anew, after a connection was lost.

        Raises:
            FederationError: the server does not answer.
        """
        self.close()
        self._session = self._connected(time.monotonic() + ASKING)
        self._session.set_timeout(ASKING)

    def status(self, job: str) -> str:
        """Return what NVFlare says of a job."""
        with _told("the server knows nothing of the job"):
            return str(self._session.get_job_status(job))

    def command(self, job: str, do: str, told: Mapping[str, Any]) -> dict[str, Any] | None:
        """Give a command to a running job and return its answer; None while it does not run."""
        try:
            with _told("the server's job gave no answer", JobNotRunning, InternalError, NoReply):
                found = self._session.do_app_command(job, COMMAND, {"do": do, **told})
        except (JobNotRunning, InternalError, NoReply):  # it is about to begin, or has ended
            return None
        return found if isinstance(found, dict) else json.loads(found)

    def abort(self, job: str) -> None:
        """End a job, if it runs; nothing is raised."""
        with contextlib.suppress(Exception), _silenced():
            self._session.abort_job(job)

    def close(self) -> None:
        """End the session; nothing is raised."""
        with contextlib.suppress(Exception), _silenced():
            self._session.close()


@contextlib.contextmanager
def _told(what: str, *kinds: type[Exception]) -> Iterator[None]:
    """Raise NVFlare's errors, but those of some kinds, as our own."""
    try:
        with _silenced():
            yield
    except kinds:
        raise
    except Exception as error:
        raise FederationError(f"{what}: {type(error).__name__}: {error}") from error


@contextlib.contextmanager
def _silenced() -> Iterator[None]:
    """Keep NVFlare's own lines off the terminal."""
    logging.getLogger().setLevel(logging.CRITICAL)
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        yield
