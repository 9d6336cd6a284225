"""When the admin takes the server's job for dead."""

import time

import pytest

from polyrank.console.progress import Silent
from polyrank.engines.nvflare.following import SILENCE, STARTING, Following, JobEndedError
from polyrank.engines.nvflare.request import Request
from polyrank.record.run_folder import Elsewhere, RunFolder


class Told:
    """Says of every job what it was given."""

    def __init__(self, status: str) -> None:
        self._status = status

    def status(self, job: str) -> str:
        return self._status


def following(tmp_path, status: str) -> Following:
    where = Elsewhere("kits/admin", "run-1", ("a",))
    request = Request("run-1", {}, {"a": "a"}, split=False)
    return Following(Told(status), request, RunFolder(tmp_path), where, Silent())


@pytest.mark.parametrize(("begun", "silent"), [(True, 5.0), (False, SILENCE + 5)])
def test_a_running_job_may_leave_a_question_open(tmp_path, begun, silent):
    following(tmp_path, "RUNNING")._check_runs(begun, time.monotonic() - silent)


@pytest.mark.parametrize(
    ("status", "begun", "silent", "said"),
    [
        ("FINISHED:EXECUTION_EXCEPTION", True, 0.0, "ended without a word"),
        ("ABORTED", False, 0.0, "ended without a word"),
        ("RUNNING", True, SILENCE + 1, "ended without a word"),
        ("SUBMITTED", False, STARTING + 1, "did not begin"),
    ],
)
def test_one_that_has_ended_or_is_silent_for_long_is_given_up(
    tmp_path, status, begun, silent, said
):
    with pytest.raises(JobEndedError, match=said):
        following(tmp_path, status)._check_runs(begun, time.monotonic() - silent)
