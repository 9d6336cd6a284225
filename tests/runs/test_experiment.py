"""Whole runs, a second each."""

import io
import json
import multiprocessing
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from rich.console import Console

import polyrank
from polyrank.aggregators import AGGREGATORS
from polyrank.allocators import ALLOCATORS
from polyrank.console.progress import Silent
from polyrank.console.result_table import render
from polyrank.disk.checkpoint import load_tensors
from polyrank.errors import QuorumError, RunFolderError, SettingsError
from polyrank.models import MODELS
from polyrank.models.weights import put_weights
from polyrank.record.run_folder import RunFolder
from polyrank.runs.preparation import prepare
from polyrank.settings.toml import dump_settings, make_settings
from tests.small import small
from tests.written import lines_in

ROOT = Path(__file__).parents[2]
FIVE = ["loss_entropy", "label_entropy", "gini_simpson", "label_count", "sample_count"]
SAME = ("config.toml", "rounds.jsonl", "clients.jsonl", "summary.json")


def contents(folder: Path, but: tuple[str, ...] = ()) -> dict[str, bytes]:
    """Every file of a run that must be the same to the bit."""
    files = [folder / name for name in SAME if name not in but]
    files += sorted(folder.glob("checkpoint/**/*.safetensors"))
    return {str(file.relative_to(folder)): file.read_bytes() for file in files}


def test_a_run_leaves_the_whole_record(tmp_path):
    result = polyrank.run(small(), out=tmp_path / "run")
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())
    assert summary == result.summary
    assert summary["rounds"] == 3
    assert 0 <= summary["worst_client"]["final"] <= summary["accuracy"]["final"] + 0.5 <= 1.5
    assert set(summary["ranks"]) == {"0", "1", "2", "3"}
    assert set(summary["scores"]) == set(summary["ranks"])
    assert sum(summary["criterion_weights"].values()) == pytest.approx(1)
    folder = RunFolder.open(tmp_path / "run")
    rounds = lines_in(folder, "rounds")
    assert [r["round"] for r in rounds] == [0, 1, 2, 3]
    assert summary["bytes"]["up"] == sum(r["bytes"]["up"] for r in rounds)
    assert (tmp_path / "run" / "report.html").stat().st_size > 1000
    assert not list((tmp_path / "run").rglob("*.tmp"))


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


def test_counts_are_measured_without_a_model(tmp_path):
    """By default: four float64 criteria up, nothing down, no step."""
    result = polyrank.run(small(), out=tmp_path / "run")
    first = lines_in(result.folder, "rounds")[0]
    assert first["bytes"] == {"up": 4 * 4 * 8, "down": 0}
    assert result.summary["steps"]["probe"] == 0


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
    workload = prepare(settings, None).workload
    model = MODELS.build(settings.model).shell((64,), 10)
    put_weights(model, workload.base)
    assert len(finals) == 4
    for client, (_, rows) in workload.clients.items():
        inputs, labels = workload.train.batch(rows)
        loss = torch.nn.functional.cross_entropy(model(inputs), labels).item()
        assert finals[client]["before"]["loss"] == pytest.approx(loss, rel=1e-5)
        assert finals[client]["global"]["loss"] < loss


@pytest.mark.parametrize("aggregator", list(AGGREGATORS))
def test_two_workers_give_the_same_bits_as_one(tmp_path, aggregator):
    one, two = tmp_path / "one", tmp_path / "two"
    settings = every_help(aggregator)
    polyrank.run(settings, out=one)
    polyrank.run(settings.model_copy(update={"workers": 2}), out=two)
    assert contents(one, but=("config.toml",)) == contents(two, but=("config.toml",))


@pytest.mark.parametrize("aggregator", list(AGGREGATORS))
def test_every_method_goes_on_from_the_disk_with_the_same_bits(tmp_path, aggregator):
    """The run stops after round 2 of 4, and all that it had in memory is gone."""
    settings = every_help(aggregator, rounds=4)
    polyrank.run(settings, out=tmp_path / "whole")
    polyrank.run(settings.model_copy(update={"rounds": 2}), out=tmp_path / "cut")
    polyrank.resume(tmp_path / "cut", overrides=["rounds=4"], trust=True)
    assert contents(tmp_path / "cut") == contents(tmp_path / "whole")


def every_help(aggregator, **changes):
    """Some clients in each round, momentum on the server, and an exported average."""
    equal = {"allocator": {"kind": "uniform", "rank": 3}} if aggregator == "fedavg" else {}
    optimizer = {"server_optimizer": "fedavgm", "average": 0.8}
    return small(aggregator=aggregator, cohort_size=3, **optimizer, **equal, **changes)


def test_another_seed_gives_another_run(tmp_path):
    one = polyrank.run(small(rounds=1), out=tmp_path / "one")
    two = polyrank.run(small(rounds=1, seed=1), out=tmp_path / "two")
    assert one.summary["loss"] != two.summary["loss"]


class Killed(BaseException):
    """Ends a run without a word, as SIGKILL does; what catches errors does not see it."""


def die() -> None:
    raise Killed


class Killer(Silent):
    """Die once a round is kept, or in the one after it, at the n-th client that answers."""

    def __init__(self, rounds: int, turns: int = 0, die: Callable[[], None] = die) -> None:
        self.rounds, self.turns, self.die = rounds, turns, die
        self.kept = 0

    def round(self, line, rounds, total_bytes):
        self.kept = line.round
        if line.round == self.rounds and not self.turns:
            self.die()

    def turn(self, client, done, total):
        if self.kept == self.rounds and done == self.turns:
            self.die()


@contextmanager
def dying_before(name: str):
    """Die when a file of that name is written and not yet in its place."""
    real = Path.replace

    def replace(self: Path, target: Path) -> Path:
        return die() if Path(target).name == name else real(self, target)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Path, "replace", replace)
        yield


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    folder = tmp_path_factory.mktemp("whole")
    polyrank.run(small(rounds=4), out=folder)
    return contents(folder)


def assert_it_goes_on(killed: Path, whole: dict[str, bytes]) -> None:
    assert not (killed / "summary.json").exists()
    with (killed / "rounds.jsonl").open("a") as file:
        file.write('{"round": 5, "half a li')
    polyrank.resume(killed, trust=True)
    assert contents(killed) == whole


@pytest.mark.parametrize("workers", [1, 2])
def test_killed_and_resumed_ends_with_the_same_bits(tmp_path, whole, workers):
    """SIGKILL within round 2, when three of four clients have answered."""
    code = (
        "import os, signal, sys, polyrank\n"
        "from tests.small import small\n"
        "from tests.runs.test_experiment import Killer\n"
        "def die(): os.kill(os.getpid(), signal.SIGKILL)\n"
        "if __name__ == '__main__':\n"
        f"    settings = small(rounds=4, workers={workers})\n"
        "    polyrank.run(settings, out=sys.argv[1], watcher=Killer(rounds=1, turns=3, die=die))\n"
    )
    killed = tmp_path / "killed"
    done = subprocess.run([sys.executable, "-c", code, str(killed)], cwd=ROOT)
    assert done.returncode == -signal.SIGKILL
    assert len(list(killed.glob("checkpoint/clients/*.2.safetensors"))) >= 3
    (killed / "config.toml").write_text(dump_settings(small(rounds=4)))
    assert_it_goes_on(killed, whole)


@pytest.mark.parametrize("rounds", [1, 3])
def test_killed_between_rounds_it_ends_with_the_same_bits(tmp_path, whole, rounds):
    with pytest.raises(Killed):
        polyrank.run(small(rounds=4), out=tmp_path / "run", watcher=Killer(rounds=rounds))
    assert_it_goes_on(tmp_path / "run", whole)


@pytest.mark.parametrize(
    "name",
    [
        "round-000002.safetensors",  # its records are there already
        "0.2.safetensors",
        "summary.json",
    ],
)
def test_killed_as_it_writes_a_file_it_ends_with_the_same_bits(tmp_path, whole, name):
    with dying_before(name), pytest.raises(Killed):
        polyrank.run(small(rounds=4), out=tmp_path / "run")
    assert_it_goes_on(tmp_path / "run", whole)


def test_a_finished_run_can_be_given_more_rounds(tmp_path):
    longer = polyrank.run(small(rounds=4), out=tmp_path / "longer")
    polyrank.run(small(rounds=2), out=tmp_path / "run")
    resumed = polyrank.resume(tmp_path / "run", overrides=["rounds=4"], trust=True)
    assert resumed.summary == longer.summary
    assert contents(tmp_path / "run") == contents(tmp_path / "longer")


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
    assert ["already finished, with 2 rounds" in text for text in notes.said] == [True]
    assert str(tmp_path / "run" / "report.html") in notes.said[0]
    with pytest.raises(SettingsError, match="rounds = 1: expected at least 2, which are finished"):
        polyrank.resume(tmp_path / "run", overrides=["rounds=1"], trust=True)
    after = {p: p.stat().st_mtime_ns for p in before}
    assert {p.name for p in before if before[p] != after[p]} <= {".lock"}


def test_a_run_that_was_killed_before_its_new_summary_goes_on(tmp_path):
    """More rounds were asked for, and the summary on the disk is still the old one."""
    longer = polyrank.run(small(rounds=3), out=tmp_path / "longer")
    polyrank.run(small(rounds=2), out=tmp_path / "run")
    folder = RunFolder.open(tmp_path / "run")
    folder.write_settings(small(rounds=3))
    assert polyrank.resume(tmp_path / "run", trust=True).summary == longer.summary


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
    with pytest.raises(RunFolderError, match="data set is not the one"):
        polyrank.resume(tmp_path / "run", overrides=["rounds=2"], trust=True)


def write_npz(path: Path, seed: int) -> None:
    import numpy as np

    rng = np.random.default_rng(seed)
    np.savez(path, train_x=rng.random((80, 4), np.float32), train_y=np.arange(80) % 3)


def test_a_folder_with_something_in_it_is_left_alone(tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(RunFolderError, match="already"):
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
def test_settings_take_effect(tmp_path, change):
    """Each group of settings makes a whole run, and a run unlike the plain one."""
    if "partition" in change:
        change = {
            **change,
            "partition": {"kind": "iid", "clients": 3},
            "data": {"source": "tests.small:tiny_digits", **change["data"]},
        }
    plain = polyrank.run(small(), out=tmp_path / "plain")
    other = polyrank.run(small(**change), out=tmp_path / "other")
    assert other.summary["rounds"] == 3
    assert other.summary["loss"] != plain.summary["loss"]


class Saboteur(Silent):
    """Send a signal to one of a run's workers when the first client of a round has answered."""

    def __init__(self, round: int, sent: signal.Signals) -> None:
        self.round_now, self.at, self.sent = 1, round, sent
        self.victims: list[int] = []

    def round(self, line, rounds, total_bytes):
        self.round_now = line.round + 1

    def turn(self, client, done, total):
        if self.round_now == self.at and not self.victims:
            victim = multiprocessing.active_children()[0]
            os.kill(victim.pid, self.sent)
            self.victims.append(victim.pid)


@pytest.mark.parametrize("sent", [signal.SIGKILL, signal.SIGSTOP])
def test_a_worker_that_dies_or_stands_still_changes_no_bit(tmp_path, sent):
    """FedSA, where a training starts from what the client has kept of the round before."""
    settings = small(aggregator="fedsa", rounds=3, task_timeout=4)
    polyrank.run(settings, out=tmp_path / "whole")
    saboteur = Saboteur(2, sent)
    two = settings.model_copy(update={"workers": 2})
    polyrank.run(two, out=tmp_path / "disturbed", watcher=saboteur)
    assert saboteur.victims
    assert contents(tmp_path / "disturbed", but=("config.toml",)) == contents(
        tmp_path / "whole", but=("config.toml",)
    )


def test_what_a_killed_run_left_before_its_first_state_can_be_used(tmp_path):
    """Killed as its settings were to be written, and again as the base had been."""
    for name in ("config.toml", "base.safetensors"):
        with dying_before(name), pytest.raises(Killed):
            polyrank.run(small(rounds=1), out=tmp_path / "run")
        assert not (tmp_path / "run" / name).exists()
        assert not (tmp_path / "run" / "checkpoint" / name).exists()
        assert (tmp_path / "run" / "checkpoint").exists()
    polyrank.run(small(rounds=1), out=tmp_path / "run")
    polyrank.run(small(rounds=1), out=tmp_path / "other")
    assert contents(tmp_path / "run") == contents(tmp_path / "other")


def test_a_run_that_fails_before_its_first_state_leaves_nothing(tmp_path, monkeypatch):
    (tmp_path / "mine").mkdir()
    monkeypatch.setattr("polyrank.runs.experiment.LocalEngine", lambda *_: 1 / 0)
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
    with pytest.raises(RunFolderError, match="already"):
        polyrank.run(small(rounds=1), out=run)
    assert (run / foreign).read_text() == "mine"
    (run / foreign).unlink()
    (run / ".lock").unlink()  # then it may be a settings file of the user's
    with pytest.raises(RunFolderError, match="already"):
        polyrank.run(small(rounds=1), out=run)


OPTIONS = {
    "uniform": {"rank": 3},
    "ratio": {"ratios": [0.2, 0.4, 0.6, 1.0]},
    "eva": {"rank": 3},
    "capacity": {"memory": 9000.0},
}


@pytest.mark.parametrize("allocator", list(ALLOCATORS))
def test_every_allocator_runs_under_the_default(tmp_path, allocator):
    """No aggregator named: anchored, with momentum and average."""
    plain = small(allocator={"kind": allocator, **OPTIONS.get(allocator, {})}).model_dump()
    named = ("aggregator", "server_optimizer", "average")
    settings = make_settings({k: v for k, v in plain.items() if k not in named})
    assert settings.aggregator.kind == "anchored"
    summary = polyrank.run(settings, out=tmp_path / "run").summary
    assert (summary["rounds"], summary["refused"], summary["failed"]) == (3, 0, 0)
    before = lines_in(tmp_path / "run", "rounds")[0]["test"]["loss"]
    assert summary["loss"]["final"] < before
