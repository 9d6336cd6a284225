"""Whole comparisons: what they run, what they leave, and what interrupts them or fails."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

import polyrank
from polyrank.console.progress import Silent
from polyrank.errors import RunFolderError, SettingsError
from polyrank.settings.toml import dump_settings
from tests.commands import command
from tests.report.test_report_page import Page
from tests.small import small
from tests.test_formats import Told
from tests.written import lines_in, summary_in

SLOW = "tests.comparing.rows_of_own:slow"
ARMS = {"plain": {}, "broken": {"data": "tests.comparing.rows_of_own:broken"}}
PADDED = {"plain": {}, "padded": {"aggregator": "zero_padding"}}
CONTROLS = ("control alone", "control pooled", "control uniform")


def compared(out, arms=PADDED, **options):
    usual = {"seeds": [3], "controls": False, "tune": False, "watcher": Silent()}
    settings = options.pop("settings", small(rounds=1))
    return polyrank.compare(settings, arms=arms, out=out, **{**usual, **options})


@pytest.fixture(scope="module")
def told() -> Told:
    return Told()


@pytest.fixture(scope="module")
def made(tmp_path_factory, told):
    """One arm that runs and one that fails, two seeds, controls, devices."""
    out = tmp_path_factory.mktemp("compare") / "out"
    devices = polyrank.DeviceTime(1e9, [1, 1, 1, 0.5])
    options = {"seeds": [3, 4], "controls": True, "jobs": 2, "device_time": devices}
    return compared(out, ARMS, watcher=told, **options)


def test_every_arm_and_control_is_run_with_every_seed_one_process_each(made):
    names = {(done.cell.arm, done.cell.seed) for done in made.done}
    assert names == {(arm, seed) for arm in ("plain", *CONTROLS) for seed in (3, 4)}
    settings = [polyrank.load_settings(d.cell.folder / "config.toml") for d in made.done]
    assert {(s.workers, s.seed) for s in settings} == {(1, 3), (1, 4)}
    assert {s.name for s in settings} == {"plain", *CONTROLS}


def test_a_run_that_fails_is_named_with_its_error_and_stops_no_other(made):
    assert set(made.failed) == {"broken, seed 3", "broken, seed 4"}
    assert all("the disk is gone" in error for error in made.failed.values())
    rows = {row["arm"]: row for row in made.arm_rows}
    assert (rows["broken"]["seeds"], rows["broken"]["failed"]) == (0, 2)
    page = Page(made.page.read_text())
    assert [row[0] for row in page.content["data"]["failed"]["rows"]] == [*made.failed]
    assert "the disk is gone" in " ".join(page.text)


def test_numbers_are_those_of_the_runs(made):
    """The mean of two, half their distance times the root of two, and Student's 6.314."""
    finals = {
        arm: [summary_in(made.result(arm, s).folder)["accuracy"]["final"] for s in (3, 4)]
        for arm in ("plain", "control pooled")
    }
    rows = {row["arm"]: row for row in made.arm_rows}
    one, two = finals["plain"]
    assert rows["plain"]["accuracy"] == pytest.approx((one + two) / 2)
    assert rows["plain"]["accuracy_sd"] == pytest.approx(abs(one - two) / 2**0.5)
    first, second = (b - a for a, b in zip(finals["plain"], finals["control pooled"], strict=True))
    pooled = rows["control pooled"]
    assert pooled["difference"] == pytest.approx((first + second) / 2)
    half = 6.314 * abs(first - second) / 2
    assert pooled["difference_high"] == pytest.approx(pooled["difference"] + half, abs=1e-3)
    before = [lines_in(made.result("plain", s).folder, "rounds")[0]["test"] for s in (3, 4)]
    assert rows["frozen base"]["accuracy"] == pytest.approx(
        sum(metrics["accuracy"] for metrics in before) / 2
    )


def test_data_frames_and_tables_hold_a_row_an_arm_and_a_row_a_run(made):
    assert list(made.arms.index) == ["plain", *CONTROLS, "broken", "frozen base"]
    assert list(made.runs.loc["plain", "seed"]) == [3, 4]
    runs = made.runs
    assert runs.loc["plain", "federated_seconds"].gt(0).all()
    assert runs.loc["control alone", "federated_seconds"].isna().all()
    assert "| plain | 2 |" in made.to_markdown()
    assert "plain & 2 &" in made.to_latex()
    kept = json.loads((made.folder / "comparison.json").read_text())
    assert kept["arms"] == made.arm_rows
    assert len(kept["runs"]) == 8
    with pytest.raises(RunFolderError, match="'broken', seed 3; there are plain, seed 3"):
        made.result("broken", 3)


def test_it_is_said_how_many_runs_there_are_and_how_long_the_rest_may_take(told, made):
    assert told.notes[0].startswith("10 runs: 5 arms with 2 seeds; 2 at a time; how long is told")
    over = [note for note in told.notes if note.startswith("run ")]
    assert [note.partition(":")[0] for note in over] == [f"run {n} of 10" for n in range(1, 11)]
    assert sum("left" in note for note in over) >= 8
    assert over[-1].endswith("that was the last")


def test_the_page_has_arms_differences_and_seconds_and_no_page_of_each_run(made):
    page = Page(made.page.read_text())
    data = page.content["data"]
    assert {"arms", "paired-accuracy", "runs", "target-accuracy", "seconds"} <= set(data)
    assert {"accuracy-compared", "accuracy-by-bytes"} <= set(page.content["figures"])
    assert [row[0] for row in data["paired-accuracy"]["rows"]] == [*CONTROLS]
    assert [row[0] for row in data["target-accuracy"]["rows"]] == ["plain", "control uniform"]
    assert not [a for a in page.all("details") if a.get("class") == "run"]


def test_the_command_prints_the_table_and_ends_with_1_where_a_run_failed(tmp_path):
    path = tmp_path / "small.toml"
    path.write_text(dump_settings(small(rounds=1)).replace("tests.small:tiny_digits", SLOW))
    line = (
        f"polyrank compare {path} --vary data={SLOW},{ARMS['broken']['data']} --seeds 1 "
        f"--no-controls --no-tune --out {tmp_path / 'out'}"
    )
    said = command(line, 1)
    assert "difference to data tests.comparing.rows_of_own-slow, seed by seed" in said
    assert "failed: data tests.comparing.rows_of_own-broken, seed 0: RuntimeError" in said
    assert "1 of 2 runs failed" in said
    found = json.loads(command(f"{line} --json", 1).splitlines()[0])
    assert [row["seeds"] for row in found["arms"]] == [1, 0, 1]


def test_learning_rates_are_tried_at_another_seed_and_the_best_is_taken(tmp_path):
    told = Told()
    settings = small(rounds=1, training={"learning_rate": 1e-5})
    found = compared(
        tmp_path, {"plain": {}}, tune=True, tune_seeds=2, settings=settings, watcher=told, jobs=2
    )
    (tuned,) = found.tuned
    assert sorted(tuned.tries) == [3.3e-06, 1e-5, 3e-5]
    tries = sorted((tmp_path / "tuning" / "plain").glob("*/*"))
    assert len(tries) == 3 * 2
    assert {polyrank.load_settings(p / "config.toml").seed for p in tries} == {100, 101}
    assert found.done[0].cell.settings.training.learning_rate == tuned.best
    kept = polyrank.load_settings(found.result("plain", 3).folder / "config.toml")
    assert kept.training.learning_rate == tuned.best
    assert any("at the edge" in note for note in told.notes) == tuned.at_edge
    assert any("2 seeds cannot tell" in note for note in told.notes) == tuned.by_luck
    with pytest.raises(RunFolderError, match="was begun with tuning"):
        compared(tmp_path, {"plain": {}}, settings=settings)


def test_clients_alone_have_a_rate_of_their_own_by_their_own_models(tmp_path):
    settings = small(rounds=2, training={"learning_rate": 0.01})
    found = compared(tmp_path, {"plain": {}}, tune=True, controls=True, settings=settings, jobs=2)
    (alone,) = (tuned for tuned in found.tuned if tuned.arm == "control alone")
    for rate, metrics in alone.means.items():
        run = tmp_path / "tuning" / "control alone" / f"rate-{rate:g}" / "seed-100"
        own = [x["personal"] for x in lines_in(run, "clients") if x["event"] == "final"]
        assert len(own) == 4
        for name in ("accuracy", "loss"):
            assert metrics[name] == pytest.approx(sum(of[name] for of in own) / 4)
    kept = polyrank.load_settings(found.result("control alone", 3).folder / "config.toml")
    assert kept.training.learning_rate == alone.best == max(alone.tries, key=alone.shown)


def test_ctrl_c_leaves_nothing_running(tmp_path):
    path, mark = tmp_path / "small.toml", tmp_path / "mark"
    path.write_text(dump_settings(small(rounds=1, data=SLOW)))
    words = ["compare", path, "--seeds", "1", "--no-controls", "--no-tune", "--out", tmp_path / "o"]
    program = [str(Path(sys.executable).parent / "polyrank"), *map(str, words)]
    named = {**os.environ, "MARK": str(mark)}
    with subprocess.Popen(
        program,
        env=named,
        stderr=subprocess.PIPE,
        text=True,
        # ignored under nohup, and so by what is started there
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    ) as process:
        while not (mark.exists() and mark.read_text()):
            assert process.poll() is None
            time.sleep(0.05)
        os.kill(process.pid, signal.SIGINT)
        _, said = process.communicate()
    assert (process.returncode, "goes on" in said) == (130, True)
    with pytest.raises(ProcessLookupError):
        os.kill(int(mark.read_text()), 0)


def test_it_goes_on_where_it_stopped_and_gives_the_same_table(tmp_path):
    whole = compared(tmp_path / "whole")
    part = tmp_path / "part"
    compared(part, {"plain": {}})
    kept = part / "runs" / "plain" / "seed-3" / "summary.json"
    before = kept.stat().st_mtime_ns
    begun = part / "runs" / "padded" / "seed-3"
    shutil.copytree(whole.result("padded", 3).folder, begun)
    (begun / "summary.json").unlink()  # as one that was killed before its end
    (begun / "rounds.jsonl").write_text("garbage")
    again = compared(part)
    assert kept.stat().st_mtime_ns == before
    times = ("seconds", "folder")
    for one, two in zip(whole.arm_rows, again.arm_rows, strict=True):
        assert {k: v for k, v in one.items() if k not in times} == {
            k: v for k, v in two.items() if k not in times
        }
    with pytest.raises(RunFolderError, match=r"got one with other training\.epochs"):
        compared(part, overrides=["training.epochs=2"])
    (part / "comparison.json").write_text('{"format": 2}')
    with pytest.raises(RunFolderError, match="expected format 1, got 2"):
        compared(part)


@pytest.mark.parametrize(
    ("options", "kind", "said"),
    [
        ({"jobs": 0}, SettingsError, "jobs: expected at least 1"),
        ({"jobs": -2}, SettingsError, "jobs: expected at least 1"),
        ({"tune_seeds": 0}, SettingsError, "tune_seeds: expected at least 1, got 0"),
        ({"target": 0.0}, SettingsError, "an accuracy above 0, at most 1"),
        ({"target": 95}, SettingsError, "an accuracy above 0, at most 1"),
        ({"target": float("nan")}, SettingsError, "an accuracy above 0, at most 1"),
        ({"device_time": polyrank.DeviceTime([1, 2], 1)}, SettingsError, "each of the 4 clients"),
        ({"overrides": ["rouns=1"]}, SettingsError, "did you mean 'rounds'"),
        ({"settings": "none.toml"}, SettingsError, "none.toml: cannot be read"),
    ],
)
def test_what_cannot_be_leaves_nothing(tmp_path, options, kind, said):
    with pytest.raises(kind, match=said):
        compared(tmp_path / "out", **options)
    assert not (tmp_path / "out").exists()


def test_a_folder_that_is_none_and_one_in_use_are_refused(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(RunFolderError, match="a folder that can be made"):
        compared(tmp_path / "file")
    with (
        polyrank.comparing.compare._locked(tmp_path / "out"),
        pytest.raises(RunFolderError, match="another process is at work"),
    ):
        compared(tmp_path / "out")


BRIEF = {"rounds": 1, "model": {"kind": "mlp", "hidden": [4]}, "training": {"epochs": 1}}


def handed() -> dict[str, tuple[np.ndarray, np.ndarray]]:
    draw = np.random.default_rng(0)
    labels = {name: draw.integers(0, 2, 40) for name in ("north", "south")}
    return {
        name: (draw.normal(size=(40, 3)).astype(np.float32) + y[:, None], y)
        for name, y in labels.items()
    }


def test_data_that_are_handed_over_are_those_of_every_run(tmp_path):
    made = compared(tmp_path / "all", settings=BRIEF, data=handed())
    assert not made.failed
    finals = {}
    for arm, changes in PADDED.items():
        settings = {**BRIEF, **changes, "seed": 3, "workers": 1}
        alone = polyrank.run(settings, data=handed(), out=tmp_path / arm)
        finals[arm] = alone.summary["loss"]["final"]
    assert {one.cell.arm: one.run.summary.loss.final for one in made.done} == finals
    assert all(set(one.run.summary.ranks) == {"north", "south"} for one in made.done)


def test_data_that_are_handed_over_are_read_in_one_way(tmp_path):
    arms = {"as they are": {}, "otherwise": {"data.drop": ["age"]}}
    with pytest.raises(SettingsError, match="'otherwise': data are handed over, and read once"):
        compared(tmp_path / "out", arms, settings=BRIEF, data=handed())
    with pytest.raises(SettingsError, match=r"data.source = 'digits'.*expected one of"):
        compared(tmp_path / "out", settings={**BRIEF, "data": "digits"}, data=handed())
