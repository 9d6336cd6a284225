"""Every second is in one part."""

import itertools
import json

import pytest

import polyrank
from polyrank.report.cost import cost
from polyrank.report.reading import read_run
from polyrank.runs import stopwatch
from polyrank.runs.stopwatch import Stopwatch
from tests.small import small


@pytest.fixture
def ticks(monkeypatch):
    """A clock that is one second later whenever it is read; lists what it answered."""
    seen: list[float] = []

    class Clock:
        @staticmethod
        def perf_counter() -> float:
            seen.append(float(len(seen)))
            return seen[-1]

    monkeypatch.setattr(stopwatch, "time", Clock)
    return seen


def test_laps_of_one_part_add_up(ticks):
    watch = Stopwatch()
    assert watch.lap("train") == 1
    watch.lap("save")
    watch.lap("train")
    assert watch.take() == {"train": 2, "save": 1}
    watch.lap("train")
    assert watch.take() == {"train": 1}


def test_the_parts_of_a_run_are_all_its_time(tmp_path, ticks):
    head = {"adapter": {"targets": ["fc1"], "extras": ["fc2"]}, "head_init": "lda"}
    folder = polyrank.run(small(rounds=2, **head), out=tmp_path / "run").folder
    lines = [json.loads(line) for line in (folder / "timings.jsonl").read_text().splitlines()]
    assert [(line["round"], list(line["seconds"])) for line in lines] == [
        (0, ["start", "head", "probe", "evaluate"]),
        (1, ["save", "train", "evaluate"]),
        (2, ["save", "train", "evaluate"]),
        (2, ["save", "final"]),
    ]
    total = sum(seconds for line in lines for seconds in line["seconds"].values())
    assert total == pytest.approx(ticks[-1] - ticks[0])
    assert f"it took {total:.3g} s." in cost(read_run(folder)).lead


def test_a_resumed_run_keeps_the_time_from_before(tmp_path, ticks):
    folder = polyrank.run(small(rounds=1), out=tmp_path / "run").folder
    before = (folder / "timings.jsonl").read_text()
    polyrank.resume(folder, overrides=["rounds=2"], trust=True)
    after = (folder / "timings.jsonl").read_text()
    assert after.startswith(before)
    first = json.loads(after.removeprefix(before).splitlines()[0])
    assert (first["round"], list(first["seconds"])) == (2, ["start", "train", "evaluate"])


def test_the_clock_is_read_forwards():
    watch = Stopwatch()
    for part in itertools.islice(itertools.cycle("ab"), 6):
        watch.lap(part)
    assert all(seconds >= 0 for seconds in watch.take().values())
