"""A set of runs: which runs it is, and that it goes on where it stopped."""

import json
import shutil

from polyrank.settings import controls
from polyrank.settings import toml as config
from tests.small import small
from tests.test_cli import polyrank


def test_a_set_is_one_run_a_seed_with_its_controls_and_goes_on_where_it_stopped(tmp_path):
    path, out = tmp_path / "small.toml", tmp_path / "set"
    path.write_text(config.dump_settings(small(rounds=1)))
    words = ["run", path, "--seeds", "3,4", "--with-controls", "--out", out]
    done = polyrank(*words)
    assert done.returncode == 0, done.stderr
    folders = {p.name for p in out.iterdir() if p.is_dir()}
    arms = ["small", *(f"small-{kind}" for kind in controls.CONTROLS)]
    assert folders == {f"{arm}-seed-{seed}" for arm in arms for seed in (3, 4)}
    of = config.load_settings(path, ["seed=4"])
    assert config.load_settings(out / "small-seed-4" / "config.toml").seed == 4
    wanted = controls.control(of, "alone")
    assert config.load_settings(out / "small-alone-seed-4" / "config.toml") == wanted
    assert (out / "report.html").exists()
    finals = [
        json.loads((out / f"small-seed-{s}" / "summary.json").read_text())["accuracy"]["final"]
        for s in (3, 4)
    ]
    mean, spread = sum(finals) / 2, abs(finals[0] - finals[1]) / 2**0.5
    assert f"{mean:.3f} ± {spread:.3f}" in done.stdout
    shutil.rmtree(out / "small-alone-seed-4")
    untouched = (out / "small-seed-3" / "summary.json").stat().st_mtime_ns
    again = polyrank(*words)
    assert again.stdout.count("already finished") == 7
    assert (out / "small-seed-3" / "summary.json").stat().st_mtime_ns == untouched
    assert (out / "small-alone-seed-4" / "summary.json").exists()
    other = polyrank(*words, "--set", "training.epochs=2")
    assert (other.returncode, "other training.epochs" in other.stderr) == (1, True)
