"""Reading run folders, whole, unfinished and broken."""

import json
import math
import re
from pathlib import Path

import pytest

from polyrank.errors import RunFolderError
from polyrank.record.run_folder import RunFolder
from polyrank.report import read_run
from polyrank.report.reading import natural_key
from tests.written import whole_round


def test_a_finished_run_is_read_whole(run_folder):
    run = read_run(run_folder)
    assert run.finished
    assert run.notes == []
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
    assert run.notes == ["The last line of rounds.jsonl was cut short and is left out."]


def test_a_run_that_has_only_its_settings_is_read(tmp_path):
    (tmp_path / "config.toml").write_text('name = "new"\n')
    run = read_run(tmp_path)
    assert (run.rounds, run.profiles, run.name) == ([], [], tmp_path.name)


def test_a_round_that_a_resumed_run_repeats_counts_once(make_run):
    folder = make_run("resumed", rounds=2)
    again = whole_round({"round": 2, "bytes": {"up": 7, "down": 8}})
    with (folder / "rounds.jsonl").open("a") as out:
        out.write(json.dumps(again) + "\n")
    run = read_run(folder)
    assert [record.round for record in run.rounds] == [0, 1, 2]
    assert run.rounds[2].bytes.up == 7


def test_numbers_that_are_not_finite_are_missing(make_run):
    folder = make_run("nan", rounds=1)
    metrics = {"accuracy": math.inf, "loss": -math.inf}
    line = whole_round({"round": 0, "train_loss": math.nan, "test": metrics})
    (folder / "rounds.jsonl").write_text(json.dumps(line))
    record = read_run(folder).rounds[0]
    assert record.train_loss is None
    assert record.test == {"accuracy": None, "loss": None}


def test_a_broken_line_is_named(run_folder):
    path = run_folder / "rounds.jsonl"
    lines = path.read_text().splitlines()
    path.write_text("\n".join([lines[0], lines[1][:30], *lines[2:]]))
    with pytest.raises(RunFolderError, match=r"rounds\.jsonl, line 2: not JSON"):
        read_run(run_folder)


@pytest.mark.parametrize(
    ("key", "value", "told"),
    [
        ("bytes", {"up": "many", "down": 0}, 'bytes.up: expected a whole number, got "many"'),
        ("bytes", {"up": True, "down": 0}, "bytes.up: expected a whole number, got true"),
        ("bytes", {"up": 0}, "bytes.down: expected a value, got none"),
        ("bytes", 7, "bytes: expected an object, got 7"),
        ("round", -1, "round: expected a value greater than or equal to 0, got -1"),
        ("round", 1.5, "round: expected a whole number, got 1.5"),
        ("cohort", "ab", 'cohort: expected a list, got "ab"'),
        ("cohort", {"a": 1}, 'cohort: expected a list, got {"a": 1}'),
        ("cohort", [3], "cohort.0: expected a text, got 3"),
        ("train_loss", "low", 'train_loss: expected a number or null, got "low"'),
        ("train_loss", False, "train_loss: expected a number or null, got false"),
        ("test", {"loss": 1.0}, 'test: expected the keys accuracy and loss, got {"loss": 1.0}'),
        ("test", [1], "test: expected an object, got [1]"),
    ],
)
def test_a_key_of_the_wrong_type_is_named_with_what_was_expected_and_what_came(
    run_folder, key, value, told
):
    line = whole_round({"round": 21}) | {key: value}
    with (run_folder / "rounds.jsonl").open("a") as out:
        out.write(json.dumps(line) + "\n")
    expected = re.escape(f"{run_folder / 'rounds.jsonl'}, line 22: {told}")
    for read in (read_run, lambda path: RunFolder(path).read_rounds()):
        with pytest.raises(RunFolderError, match=f"^{expected}$"):
            read(run_folder)


def test_a_line_about_a_client_is_of_a_kind_that_is_known(run_folder):
    with (run_folder / "clients.jsonl").open("a") as out:
        out.write('{"event": "profiles", "client": "0"}\n')
    with pytest.raises(RunFolderError, match=r'event: expected one of profile, .*, got "profiles"'):
        read_run(run_folder)


@pytest.mark.parametrize("name", ["missing", "empty"])
def test_a_folder_without_a_run_is_an_error(tmp_path: Path, name: str):
    (tmp_path / "empty").mkdir()
    with pytest.raises(RunFolderError, match=r"expected config\.toml or rounds\.jsonl"):
        read_run(tmp_path / name)


def test_clients_are_in_natural_order():
    names = ["client 10", "b", "client 2", "10", "9", ""]
    assert sorted(names, key=natural_key) == ["", "9", "10", "b", "client 2", "client 10"]
