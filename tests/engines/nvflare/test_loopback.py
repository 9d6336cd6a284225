"""A whole federation on this machine: real processes, certificates and TLS."""

import json
import os
import signal
from pathlib import Path

import pytest

pytest.importorskip("nvflare", reason="NVFlare is not installed: pip install 'polyrank[nvflare]'")

import psutil

from polyrank import api
from polyrank.console.progress import Silent
from polyrank.errors import SettingsError
from polyrank.record.lines import RoundLine
from tests.small import small

ROUNDS = 16  # so many that some are left when the admin has seen the second one


def started() -> list[psutil.Process]:
    """All that this process has started and that still runs."""
    return psutil.Process().children(recursive=True)


class Killer(Silent):
    """Kills the trainer of a client after a round."""

    def __init__(self, client: str, after: int) -> None:
        self.client, self.after, self.killed = client, after, 0

    def round(self, line: RoundLine, rounds: int, total_bytes: int) -> None:
        if line.round == self.after:
            for process in started():
                if process.name() == f"client {self.client}":
                    os.kill(process.pid, signal.SIGKILL)
                    self.killed += 1


def rounds_of(folder: Path) -> list[str]:
    return (folder / "rounds.jsonl").read_text().splitlines()


def test_rounds_are_those_of_the_simulation_until_a_killed_trainer_costs_one_update(tmp_path: Path):
    settings = small(
        rounds=ROUNDS,
        data="digits",
        partition={"kind": "dirichlet", "clients": 3},
        training={"epochs": 5},
    )
    before = {process.pid for process in started()}
    killer = Killer("1", after=2)
    far = api.run(settings, out=tmp_path / "far", watcher=killer, federation="local:3").folder
    near = api.run(settings, out=tmp_path / "near").folder
    assert killer.killed == 1

    lines = [json.loads(text) for text in rounds_of(far)]
    lost = [[turn["client"] for turn in line["failed"]] for line in lines]
    assert sorted(lost) == [[]] * ROUNDS + [["1"]]
    at = lost.index(["1"])
    assert 3 <= at <= ROUNDS
    assert "the trainer's process died (exit code -9)" in lines[at]["failed"][0]["reason"]
    assert rounds_of(far)[:at] == rounds_of(near)[:at]  # losses to the last bit
    assert client_lines(far, "profile") == client_lines(near, "profile")  # ranks

    assert {process.pid for process in started()} <= before
    assert not list((far / "federation").rglob("*.key"))


def client_lines(folder: Path, kind: str) -> list[str]:
    texts = (folder / "clients.jsonl").read_text().splitlines()
    return [text for text in texts if json.loads(text)["event"] == kind]


def test_code_that_the_settings_name_is_refused_before_anything_is_started(tmp_path: Path):
    with pytest.raises(SettingsError, match=r"PolyRank.s own methods only, .*tiny_digits"):
        api.run(small(), out=tmp_path / "run", federation="local:2")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("name", ["local", "local:", "local:0", "local:x", "elsewhere"])
def test_a_federation_of_another_form_is_refused(name: str, tmp_path: Path):
    with pytest.raises(SettingsError, match="expected local:N"):
        api.run(small(data="digits"), out=tmp_path / "run", federation=name)
