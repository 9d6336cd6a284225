"""Reading run folders, whole, unfinished and broken."""

import json
from pathlib import Path

import pytest

from polyrank.errors import RunFolderError
from polyrank.report import read_run
from polyrank.report.reading import natural


def test_a_finished_run_is_read_whole(run_folder):
    run = read_run(run_folder)
    assert run.finished
    assert run.notes == ()
    assert [record.round for record in run.rounds] == list(range(21))
    assert [profile.client for profile in run.profiles] == [str(i) for i in range(12)]
    assert run.rounds[0].bytes.down == 64000
    assert run.finals[0].shared["macro_f1"] == 0.8
    assert run.timings[1].seconds["aggregate"] == 0.06
    assert run.summary.criterion_weights["size"] == 0.17
    assert 'name = "digits"' in run.settings


def test_an_unfinished_run_is_read_and_a_line_cut_short_is_noted(make_run):
    folder = make_run("going", finished=False)
    path = folder / "rounds.jsonl"
    path.write_bytes(path.read_bytes() + '{"round": 21, "cohort": ["Zü'.encode()[:-1])
    run = read_run(folder)
    assert not run.finished
    assert run.rounds[-1].round == 20
    assert run.notes == ("The last line of rounds.jsonl was cut short and is left out.",)


def test_a_run_that_has_only_its_settings_is_read(tmp_path):
    (tmp_path / "config.toml").write_text('name = "new"\n')
    run = read_run(tmp_path)
    assert (run.rounds, run.profiles, run.name) == ((), (), tmp_path.name)


def test_a_round_that_a_resumed_run_repeats_counts_once(make_run):
    folder = make_run("resumed", rounds=2)
    again = {"round": 2, "bytes": {"up": 7, "down": 8}, "train_loss": None, "test": None}
    with (folder / "rounds.jsonl").open("a") as out:
        out.write(json.dumps(again) + "\n")
    run = read_run(folder)
    assert [record.round for record in run.rounds] == [0, 1, 2]
    assert run.rounds[2].bytes.up == 7


def test_numbers_that_are_not_finite_are_missing(make_run):
    folder = make_run("nan", rounds=1)
    text = '{"round": 0, "train_loss": NaN, "test": {"accuracy": Infinity, "loss": 1e999}}\n'
    (folder / "rounds.jsonl").write_text(text)
    record = read_run(folder).rounds[0]
    assert record.train_loss is None
    assert record.test == {"accuracy": None, "loss": None}


def test_a_broken_line_is_named(run_folder):
    path = run_folder / "rounds.jsonl"
    lines = path.read_text().splitlines()
    path.write_text("\n".join([lines[0], lines[1][:30], *lines[2:]]))
    with pytest.raises(RunFolderError, match=r"rounds\.jsonl, line 2: not JSON"):
        read_run(run_folder)


def test_a_record_of_the_wrong_type_is_named(run_folder):
    with (run_folder / "rounds.jsonl").open("a") as out:
        out.write('{"round": 21, "bytes": {"up": "many"}}\n')
    with pytest.raises(RunFolderError, match=r"line 22: bytes\.up: Input should be a valid int"):
        read_run(run_folder)


@pytest.mark.parametrize("name", ["missing", "empty"])
def test_a_folder_without_a_run_is_an_error(tmp_path: Path, name: str):
    (tmp_path / "empty").mkdir()
    with pytest.raises(RunFolderError, match=r"expected config\.toml or rounds\.jsonl"):
        read_run(tmp_path / name)


def test_clients_are_in_natural_order():
    names = ["client 10", "b", "client 2", "10", "9", ""]
    assert sorted(names, key=natural) == ["", "9", "10", "b", "client 2", "client 10"]
