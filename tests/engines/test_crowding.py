"""Workers that are started when the rest of a run is worth it."""

import math
import sys

import pytest

from polyrank.engines import crowding
from polyrank.engines.crowding import Crowding
from polyrank.engines.local import LocalEngine
from polyrank.protocol.engine import Patience
from polyrank.protocol.messages import TaskId
from polyrank.runs.preparation import prepare
from polyrank.server.asking import asked
from polyrank.threads import one_thread
from tests.engines.engine_tasks import bits, tasks
from tests.small import small


@pytest.fixture
def prepared(tmp_path):
    return prepare(small(), tmp_path / "clients")


@pytest.mark.parametrize(
    ("seconds", "round_", "wanted"),
    [(1.0, 1, True), (0.5, 1, False), (1.0, 7, False)],
)
def test_the_rest_of_the_run_must_be_worth_the_start(seconds, round_, wanted):
    """Of 10 rounds of 4 clients, 36 + 3 trainings are left: 39 s alone, 19.5 s by two.

    At half a second each, two workers save less than 10 s; after round 7 there are 15 left.
    """
    pace = Crowding(rounds=10, cohort=4, workers=2)
    pace.took(seconds)
    assert pace.wanted(TaskId("r", round_, "a"), place=1) is wanted


def test_workers_take_over_in_mid_round_and_the_bits_stay(prepared):
    given = tasks(prepared, ["0", "1", "2", "3"])
    with one_thread():
        alone = [bits(a) for _, a in asked(LocalEngine(prepared.crew).run, given)]
        pace = Crowding(rounds=10**6, cohort=4, workers=2)
        engine = LocalEngine(prepared.crew, crowding=pace)
        try:
            came = asked(engine.run, given)
            together = [bits(next(came)[1])]
            assert engine.pool is None  # nothing is started before its pace is known
            together += [bits(a) for _, a in came]
            assert len(engine.pool.workers) == 2
        finally:
            engine.close()
    assert together == alone


def test_a_short_run_stays_in_one_process(prepared):
    engine = LocalEngine(prepared.crew, crowding=Crowding(rounds=3, cohort=4, workers=2))
    assert len(list(engine.run(tasks(prepared, ["0", "1", "2", "3"])))) == 4
    assert engine.pool is None


def test_what_is_left_of_the_patience_goes_to_the_workers():
    for seconds, gone, left in ((10.0, 4.0, 6.0), (10.0, 11.0, 0.0), (None, 4.0, math.inf)):
        rest = Patience(seconds, 3).after(gone, good=2)
        assert (rest.seconds, rest.quorum, rest.left) == (seconds, 1, left)


@pytest.mark.parametrize(
    ("processors", "on_cpu", "script", "workers"),
    [
        (3, True, "if __name__ == '__main__': run()", 3),
        (99, True, "if __name__ == '__main__': run()", 4),
        (1, True, "if __name__ == '__main__': run()", None),
        (3, False, "if __name__ == '__main__': run()", None),
        (3, True, "polyrank.run({})", None),
    ],
    ids=["processors", "clients", "one processor", "a GPU", "a script that is not guarded"],
)
def test_how_many_workers_there_may_be(monkeypatch, tmp_path, processors, on_cpu, script, workers):
    (tmp_path / "script.py").write_text(script)
    main = sys.modules["__main__"]
    monkeypatch.setattr(main, "__file__", str(tmp_path / "script.py"), raising=False)
    monkeypatch.setattr(crowding, "cpu_count", lambda: processors)
    found = crowding.crowding(small(), clients=4, on_cpu=on_cpu)
    assert (found and found.workers) == workers
