"""Whole runs, a second each."""

import io
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from rich.console import Console

import polyrank
from polyrank.allocators import ALLOCATORS
from polyrank.console.progress import Silent
from polyrank.console.result_table import render
from polyrank.disk.checkpoint import load_tensors
from polyrank.errors import QuorumError, RunFolderError, SettingsError
from polyrank.models import MODELS
from polyrank.models.weights import put_weights
from polyrank.record.run_folder import RunFolder
from polyrank.runs.preparation import prepare
from polyrank.settings.toml import make_settings
from tests.small import small
from tests.whole_runs import contents
from tests.written import lines_in

ROOT = Path(__file__).parents[2]
FIVE = ["loss_entropy", "label_entropy", "gini_simpson", "label_count", "sample_count"]


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    return polyrank.run(small(), out=tmp_path_factory.mktemp("plain"))


def test_a_run_leaves_the_whole_record(plain):
    summary = json.loads((plain.folder / "summary.json").read_text())
    assert summary == plain.summary
    assert summary["rounds"] == 3
    assert 0 <= summary["worst_client"]["final"] <= summary["accuracy"]["final"] + 0.5 <= 1.5
    assert set(summary["ranks"]) == {"0", "1", "2", "3"}
    assert set(summary["scores"]) == set(summary["ranks"])
    assert sum(summary["criterion_weights"].values()) == pytest.approx(1)
    rounds = lines_in(plain.folder, "rounds")
    assert [r["round"] for r in rounds] == [0, 1, 2, 3]
    assert summary["bytes"]["up"] == sum(r["bytes"]["up"] for r in rounds)
    assert (plain.folder / "report.html").stat().st_size > 1000
    assert not list(plain.folder.rglob("*.tmp"))


def test_bytes_are_those_of_the_formula(tmp_path):
    """Up and down: 4 r_k (d_in + d_out) a module, and the extras (16 + 10 biases)."""
    settings = small(allocator={"kind": "ratio", "ratios": [0.2, 0.4, 0.6, 1.0]}, rounds=1)
    summary = polyrank.run(settings, out=tmp_path / "run").summary
    ranks = [round(ratio * 6) for ratio in (0.2, 0.4, 0.6, 1.0)]
    once = sum(4 * (r * (64 + 16) + r * (16 + 10) + 26) for r in ranks)
    assert summary["bytes"] == {"up": once, "down": once}


def test_probing_is_counted(tmp_path):
    """Down: r_min of every module and the extras to each client; up: five float64 criteria.

    Steps: as many at each client.
    """
    result = polyrank.run(small(criteria=FIVE, probe={"steps": 7}), out=tmp_path / "run")
    folder = RunFolder.open(result.folder)
    expected = {"up": 4 * 5 * 8, "down": 4 * 4 * ((64 + 16) + (16 + 10) + 26)}
    assert lines_in(folder, "rounds")[0]["bytes"] == expected
    assert result.summary["steps"]["probe"] == 4 * 7


def test_counts_are_measured_without_a_model(plain):
    """By default: four float64 criteria up, nothing down, no step."""
    first = lines_in(plain.folder, "rounds")[0]
    assert first["bytes"] == {"up": 4 * 4 * 8, "down": 0}
    assert plain.summary["steps"]["probe"] == 0


def equal_clients(argument):
    """Three clients that hold the same sixty digits."""
    from polyrank.datasets.digits import digits

    data = digits(argument)
    x, y = data.train_x[:60], data.train_y[:60]
    groups = np.repeat(["a", "b", "c"], 60)
    thrice = {"train_x": np.tile(x, (3, 1, 1)), "train_y": np.tile(y, 3), "train_groups": groups}
    return replace(data, **thrice, test_x=x, test_y=y)


@pytest.mark.parametrize("criteria", [None, FIVE], ids=["default", "with-a-probe"])
def test_three_equal_clients_get_the_same_rank_and_are_told_so(tmp_path, criteria):
    """With min-max they got 2, 14 and 16, by what the batches of their probes differed."""
    settings = small(
        rounds=1,
        data={"source": f"{__name__}:equal_clients", "client_test": 0, "validation": 0},
        partition={"kind": "natural"},
        ranks={"r_min": 2, "r_max": 16, "modules": {"fc2": {"r_max": 10}}},
        **({"criteria": criteria} if criteria else {}),
    )
    result = polyrank.run(settings, out=tmp_path / "run")
    assert list(result.summary["ranks"].values()) == [{"fc1": 9, "fc2": 6}] * 3
    assert result.summary["rank_spread"] == 0
    console = Console(file=io.StringIO(), width=80)
    render(result.folder, console)
    note = "Clients are too alike to tell apart, so all get one rank."
    assert note in console.file.getvalue()
    assert note in (result.folder / "report.html").read_text()


def test_training_beats_the_untrained_model(tmp_path):
    settings = small(rounds=8, training={"epochs": 4, "learning_rate": 0.01, "batch_size": 8})
    result = polyrank.run(settings, out=tmp_path / "run")
    first = lines_in(tmp_path / "run", "rounds")[0]["test"]["accuracy"]
    assert result.summary["accuracy"]["final"] > first + 0.3


@pytest.mark.parametrize("aggregator", ["rbla", "fedex"])
def test_before_is_the_plain_base_also_where_the_base_changes(tmp_path, aggregator):
    settings = small(aggregator=aggregator)
    polyrank.run(settings, out=tmp_path / "run")
    lines = lines_in(tmp_path / "run", "clients")
    finals = {line["client"]: line for line in lines if line["event"] == "final"}
    ready = prepare(settings, None)
    model = MODELS.build(settings.model).shell((64,), 10)
    put_weights(model, ready.server.blueprint.base)
    assert len(finals) == 4
    for client, site in ready.sites.items():
        inputs, labels = site.test.examples.batch(site.test.numbers)
        loss = torch.nn.functional.cross_entropy(model(inputs), labels).item()
        assert finals[client]["before"]["loss"] == pytest.approx(loss, rel=1e-5)
        assert finals[client]["global"]["loss"] < loss


def test_another_seed_gives_another_run(tmp_path):
    one = polyrank.run(small(rounds=1), out=tmp_path / "one")
    two = polyrank.run(small(rounds=1, seed=1), out=tmp_path / "two")
    assert one.summary["loss"] != two.summary["loss"]


class Notes(Silent):
    def __init__(self):
        self.said = []

    def note(self, text):
        self.said.append(text)


def test_a_finished_run_says_so_and_is_left_as_it_is(tmp_path):
    first = polyrank.run(small(rounds=2), out=tmp_path / "run")
    before = {p: p.stat().st_mtime_ns for p in (tmp_path / "run").rglob("*") if p.is_file()}
    again = polyrank.resume(tmp_path / "run", watcher=(notes := Notes()), trust=True)
    assert again.summary == first.summary
    assert ["already finished, in round 2" in text for text in notes.said] == [True]
    assert str(tmp_path / "run" / "report.html") in notes.said[0]
    with pytest.raises(SettingsError, match="rounds = 1: expected at least 2, which are finished"):
        polyrank.resume(tmp_path / "run", overrides=["rounds=1"], trust=True)
    after = {p: p.stat().st_mtime_ns for p in before}
    assert {p.name for p in before if before[p] != after[p]} <= {".lock"}


def test_changed_settings_are_refused_by_name_on_resume(tmp_path):
    polyrank.run(small(rounds=1), out=tmp_path / "run")
    before = contents(tmp_path / "run")
    with pytest.raises(RunFolderError, match=r"training\.epochs, seed|seed, training\.epochs"):
        polyrank.resume(tmp_path / "run", overrides=["training.epochs=2", "seed=4"], trust=True)
    assert contents(tmp_path / "run") == before


def test_changed_data_are_refused_on_resume(tmp_path):
    source = tmp_path / "data.npz"
    write_npz(source, seed=0)
    settings = small(data=f"npz:{source}", rounds=1)
    polyrank.run(settings, out=tmp_path / "run")
    write_npz(source, seed=1)
    with pytest.raises(RunFolderError, match="expected the data that the run began with"):
        polyrank.resume(tmp_path / "run", overrides=["rounds=2"], trust=True)


def write_npz(path: Path, seed: int) -> None:
    import numpy as np

    rng = np.random.default_rng(seed)
    np.savez(path, train_x=rng.random((80, 4), np.float32), train_y=np.arange(80) % 3)


def test_a_folder_with_something_in_it_is_left_alone(tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(RunFolderError, match="expected a folder, new or empty"):
        polyrank.run(small(), out=tmp_path)
    assert [p.name for p in tmp_path.iterdir()] == ["notes.txt"]


def test_two_processes_cannot_work_in_one_folder(tmp_path):
    polyrank.run(small(rounds=1), out=tmp_path / "run")
    with (
        RunFolder.open(tmp_path / "run").locked(),
        pytest.raises(RunFolderError, match="another process"),
    ):
        polyrank.resume(tmp_path / "run", trust=True)


def test_updates_that_are_not_finite_never_reach_the_global_model(tmp_path):
    """A learning rate of 1e30 makes SGD overflow: sooner or later every training diverges."""
    settings = small(training={"optimizer": "sgd", "learning_rate": 1e30}, allocator="uniform")
    said = r"0 good updates of 4 .*; clients \d, .* at learning rate 1e\+30, .*: lower lear"
    with pytest.raises(QuorumError, match=said):
        polyrank.run(settings, out=tmp_path / "run")
    state = RunFolder.open(tmp_path / "run").last_state()
    assert all(tensor.isfinite().all() for tensor in load_tensors(state)[0].values())
    assert not (tmp_path / "run" / "summary.json").exists()


def test_pretraining_on_a_public_share_helps_the_start(tmp_path):
    settings = small(rounds=1, pretrain={"share": 0.4, "epochs": 20, "learning_rate": 0.01})
    polyrank.run(settings, out=tmp_path / "run")
    start = lines_in(tmp_path / "run", "rounds")[0]["test"]["accuracy"]
    assert start > 0.5


@pytest.mark.parametrize(
    "change",
    [
        {"training": {"optimizer": "sgd", "momentum": 0.9, "clip_norm": 1.0, "prox_mu": 0.1}},
        {"training": {"optimizer": "adamw", "weight_decay": 0.1, "schedule": "cosine", "steps": 3}},
        {"cohort_fraction": 0.5, "quorum": 2, "evaluation": {"every": 2}},
        {"ranks": {"budget": 3, "caps": {"1": 2}, "modules": {"fc2": {"r_max": 3}}}},
        {"model": {"kind": "cnn", "widths": [4, 6]}, "training": {"prox_mu": 0.01}},
        {"adapter": {"targets": ["fc1"], "extras": "none"}, "allocator": "random"},
        {"criteria": ["gini_simpson", "label_count"], "probe": {"epsilon": 1.0}},
        {"data": {"validation": 0.0, "client_test": 0.0}, "partition": "iid"},
    ],
    ids=lambda change: "-".join(change),
)
def test_settings_take_effect(tmp_path, plain, change):
    """Each group of settings makes a whole run, and a run unlike the plain one."""
    if "partition" in change:
        change = {
            **change,
            "partition": {"kind": "iid", "clients": 3},
            "data": {"source": "tests.small:tiny_digits", **change["data"]},
        }
    other = polyrank.run(small(**change), out=tmp_path / "other")
    assert other.summary["rounds"] == 3
    assert other.summary["loss"] != plain.summary["loss"]


def test_a_run_that_fails_before_its_first_state_leaves_nothing(tmp_path, monkeypatch):
    (tmp_path / "mine").mkdir()
    monkeypatch.setattr("polyrank.runs.simulation.LocalEngine", lambda *_, **__: 1 / 0)
    for out in ("mine", "new/run"):
        with pytest.raises(ZeroDivisionError):
            polyrank.run(small(rounds=1), out=tmp_path / out)
    assert [p.name for p in tmp_path.rglob("*")] == ["mine"]


@pytest.mark.parametrize("foreign", ["notes.txt", "checkpoint/round-000000.safetensors"])
def test_only_what_no_state_and_nobody_else_is_in_is_used_again(tmp_path, foreign):
    polyrank.run(small(rounds=1), out=tmp_path / "run")
    run = tmp_path / "run"
    for path in [*run.glob("*.json"), *run.glob("*.html"), *run.glob("checkpoint/round*")]:
        path.unlink()
    (run / foreign).write_text("mine")
    with pytest.raises(RunFolderError, match="expected a folder, new or empty"):
        polyrank.run(small(rounds=1), out=run)
    assert (run / foreign).read_text() == "mine"
    (run / foreign).unlink()
    (run / ".lock").unlink()  # then it may be a settings file of the user's
    with pytest.raises(RunFolderError, match="expected a folder, new or empty"):
        polyrank.run(small(rounds=1), out=run)


OPTIONS = {
    "uniform": {"rank": 3},
    "ratio": {"ratios": [0.2, 0.4, 0.6, 1.0]},
    "eva": {"rank": 3},
    "capacity": {"memory": 9000.0},
}


@pytest.mark.parametrize("allocator", list(ALLOCATORS))
def test_every_allocator_runs_under_the_default(tmp_path, allocator):
    """No aggregator named: anchored, with momentum and average; slots by number are refused."""
    plain = small(allocator={"kind": allocator, **OPTIONS.get(allocator, {})}).model_dump()
    named = ("recipe", "aggregator", "server_optimizer", "average")
    settings = make_settings({k: v for k, v in plain.items() if k not in named})
    assert settings.aggregator.kind == "anchored"
    if ALLOCATORS.build(settings.allocator).needs.slots:
        with pytest.raises(SettingsError, match="expected an aggregator that keeps slots"):
            polyrank.run(settings, out=tmp_path / "run")
        return
    summary = polyrank.run(settings, out=tmp_path / "run").summary
    assert (summary["rounds"], summary["refused"], summary["failed"]) == (3, 0, 0)
    before = lines_in(tmp_path / "run", "rounds")[0]["test"]["loss"]
    assert summary["loss"]["final"] < before
