"""Who is connected when a job begins."""

import time

from polyrank.engines.nvflare.returning import connected


def test_hosts_that_are_still_to_come_are_waited_for():
    seen = iter([{"a": 1.0}, {"a": 1.0}, {"a": 1.0, "b": 2.0}])
    assert connected(lambda: next(seen), ["a", "b"], 30.0) == {"a": 1.0, "b": 2.0}


def test_a_host_that_does_not_come_is_not_waited_for_longer():
    began = time.monotonic()
    assert connected(lambda: {"a": 1.0}, ["a", "b"], 0.3) == {"a": 1.0}
    assert 0.3 <= time.monotonic() - began < 10


def test_nobody_is_waited_for_where_all_are_there_or_no_time_is_given():
    """Also a host of another run, which is not wanted."""
    asked = []

    def sites() -> dict[str, float]:
        asked.append(1)
        return {"a": 1.0, "other": 1.0}

    assert "a" in connected(sites, ["a"], 30.0)
    assert "a" in connected(sites, ["a", "b"], 0.0)
    assert len(asked) == 2
