"""Which tasks are out, which are done again, and how far they go ahead of one another."""

from polyrank.engines.pool import RETRIES, Jobs
from polyrank.protocol.messages import EvaluateTask, TaskId


def test_a_job_that_is_lost_is_done_again_before_others_and_fails_in_the_end():
    ids = {client: TaskId("run", 1, client) for client in "abcd"}
    jobs = Jobs((EvaluateTask(id, None) for id in ids.values()), most=2)
    first, second = jobs.next(), jobs.next()
    assert jobs.next() is None  # two are out
    jobs.finish(second)
    assert jobs.next() is None  # the third would be too far ahead of the first
    assert jobs.lose(first, "died") is None
    assert jobs.next() is first
    for _ in range(RETRIES - 1):
        assert jobs.lose(first, "died") is None
        assert jobs.next() is first
    assert jobs.lose(first, "died").reason == f"the worker process died, {RETRIES + 1} times"
    assert jobs.next().task.id.client == "c"
    assert [job.task.id.client for job in jobs.give_up()] == ["c", "d"]
    assert not jobs.left
