"""A run ends with the same bits for any number of workers and however often it is interrupted.

Whole runs, by the kind of state that goes from one round to the next.
"""

import multiprocessing
import os
import signal
from collections.abc import Callable
from contextlib import contextmanager
from pathlib import Path

import pytest

import polyrank
from polyrank.console.progress import Silent
from polyrank.record.run_folder import RunFolder
from polyrank.settings.toml import dump_settings
from tests.processes import exit_code
from tests.small import small
from tests.whole_runs import KINDS, contents, of_kind


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory):
    """What a run of four rounds leaves, by its kind; each is run once."""
    made: dict[str, dict[str, bytes]] = {}

    def of(kind: str) -> dict[str, bytes]:
        if kind not in made:
            folder = tmp_path_factory.mktemp("whole")
            polyrank.run(of_kind(kind, rounds=4, workers=1), out=folder)
            made[kind] = contents(folder)
        return made[kind]

    return of


@pytest.mark.parametrize("kind", KINDS)
def test_two_workers_and_a_stop_on_the_way_change_no_bit(tmp_path, uninterrupted, kind):
    """Two rounds with two workers; all that was in memory is gone; two more with one."""
    settings = of_kind(kind, rounds=2, workers=2)
    polyrank.run(settings, out=tmp_path / "cut")
    polyrank.resume(tmp_path / "cut", overrides=["rounds=4", "workers=1"], trust=True)
    assert contents(tmp_path / "cut") == uninterrupted(kind)


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


def run_until_killed(folder: Path, workers: int) -> None:
    """SIGKILL this process within round 2, when three of four clients have answered."""

    def kill() -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    settings = small(rounds=4, workers=workers)
    polyrank.run(settings, out=folder, watcher=Killer(rounds=1, turns=3, die=kill))


@pytest.mark.parametrize("workers", [1, 2])
def test_killed_and_resumed_ends_with_the_same_bits(tmp_path, whole, workers):
    killed = tmp_path / "killed"
    assert exit_code(run_until_killed, killed, workers) == -signal.SIGKILL
    assert len(list(killed.glob("checkpoint/clients/*.2.safetensors"))) >= 3
    (killed / "config.toml").write_text(dump_settings(small(rounds=4)))
    assert_it_goes_on(killed, whole)


@pytest.mark.parametrize("rounds", [1, 3])
def test_killed_between_rounds_it_ends_with_the_same_bits(tmp_path, whole, rounds):
    with pytest.raises(Killed):
        polyrank.run(small(rounds=4), out=tmp_path / "run", watcher=Killer(rounds=rounds))
    assert_it_goes_on(tmp_path / "run", whole)


def test_killed_while_slots_are_given_up_it_ends_with_the_same_bits(tmp_path):
    """In SVD form, in the middle of FedARA's schedule; two workers go on."""
    fedara = {"kind": "fedara", "final": 0.3}
    settings = of_kind("a third factor", allocator=fedara, rounds=4)
    polyrank.run(settings, out=tmp_path / "whole")
    with pytest.raises(Killed):
        polyrank.run(settings, out=tmp_path / "run", watcher=Killer(rounds=2))
    polyrank.resume(tmp_path / "run", overrides=["workers=2"], trust=True)
    whole = contents(tmp_path / "whole", but=("config.toml",))
    assert contents(tmp_path / "run", but=("config.toml",)) == whole


@pytest.mark.parametrize("compression", ["none", "int8"])
def test_killed_while_changes_are_owed_it_ends_with_the_same_bits(tmp_path, compression):
    """Ranks by need: what clients have not sent, and a server that has changed its slots."""
    need = {"allocator": {"kind": "need", "start": 2}, "compression": compression}
    settings = of_kind("all slots in view", **need, rounds=5)
    polyrank.run(settings, out=tmp_path / "whole")
    with pytest.raises(Killed):
        polyrank.run(settings, out=tmp_path / "run", watcher=Killer(rounds=3))
    polyrank.resume(tmp_path / "run", overrides=["workers=2"], trust=True)
    whole = contents(tmp_path / "whole", but=("config.toml",))
    assert any(b"owed/" in content for content in whole.values())
    assert contents(tmp_path / "run", but=("config.toml",)) == whole


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


def test_a_run_that_was_killed_before_its_new_summary_goes_on(tmp_path):
    """More rounds were asked for, and the summary on the disk is still the old one."""
    longer = polyrank.run(small(rounds=3), out=tmp_path / "longer")
    polyrank.run(small(rounds=2), out=tmp_path / "run")
    folder = RunFolder.open(tmp_path / "run")
    folder.write_settings(small(rounds=3))
    assert polyrank.resume(tmp_path / "run", trust=True).summary == longer.summary


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
    settings = small(aggregator="fedsa", rounds=3, task_timeout=2)
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
