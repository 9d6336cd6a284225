"""Federated time by a model of devices, by numbers that are reckoned by hand."""

from dataclasses import replace

import pytest

from polyrank.comparing.device_time import DeviceTime, devices_of, federated_seconds
from polyrank.errors import SettingsError
from tests.report.test_report_ahead import a_run
from tests.small import small
from tests.written import about_client

MEGABYTE = {"up": 1_000_000, "down": 3_000_000}


def a_federation():
    """Clients a and b with 10 and 20 rows; a changes from rank 2 to 4 in round 2."""
    lines = [
        {"event": "profile", "client": c, "ranks": {"m": 2}, "examples": {"train": n, "test": 0}}
        for c, n in (("a", 10), ("b", 20))
    ]
    lines.append({"event": "ranks", "round": 2, "client": "a", "ranks": {"m": 4}})
    for round, client in ((1, "a"), (1, "b"), (2, "a")):
        lines.append(
            {"event": "update", "round": round, "client": client, "bytes": MEGABYTE, "steps": 7}
        )
    return replace(a_run("fed", 0, 0.5), clients=[about_client(line) for line in lines])


def hundred_a_rank(folder, asked):
    return [100.0 * ranks["m"] for ranks in asked]


def seconds(devices, **training):
    settings = small(training={"epochs": 3, **training})
    return federated_seconds(a_federation(), settings, devices, hundred_a_rank)


def test_a_round_lasts_as_long_as_its_slowest_client():
    """a: 3 epochs of 10 rows at 200, 6000; b: 12000; in round 2 a: 12000. 4 MB take 4 s or 8 s."""
    assert seconds(DeviceTime(1000.0, 1.0)) == {1: 16.0, 2: 16.0}
    # a computes in 60 s and sends in 4 s; b in 12 s and 8 s
    assert seconds(DeviceTime([100, 1000], [1, 0.5])) == {1: 64.0, 2: 124.0}


def test_steps_count_as_batches():
    """16 rows a step, 7 steps: 112 rows at 200 or 400."""
    assert seconds(DeviceTime(100, 4), steps=7) == {1: 225.0, 2: 449.0}


@pytest.mark.parametrize("given", [0, -1.0, float("inf"), float("nan"), [], [1, 0], "12", True])
def test_a_speed_is_a_number_above_0(given):
    for options in ({"flops": given, "megabytes": 1}, {"flops": 1, "megabytes": given}):
        with pytest.raises(SettingsError, match="expected a finite number above 0"):
            DeviceTime(**options)


def test_a_list_has_a_number_for_each_client():
    for devices in (DeviceTime([1, 2, 3], 1), DeviceTime(1, [1])):
        with pytest.raises(SettingsError, match="one for each of the 2 clients"):
            seconds(devices)


def test_the_command_line_gives_one_number_or_several():
    assert devices_of("1e9", "1,2") == DeviceTime(1e9, [1.0, 2.0])
    assert devices_of(None, None) is None
    for words in (("1e9", None), (None, "1"), ("fast", "1"), ("1", "1;2")):
        with pytest.raises(SettingsError, match="expected"):
            devices_of(*words)
