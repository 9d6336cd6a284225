"""States that were damaged on the disk, and settings that were changed there."""

import os
from pathlib import Path

import pytest
import torch

import polyrank
import polyrank.record.kept_states
from polyrank.console.progress import Silent
from polyrank.disk.checkpoint import load_tensors, save_tensors
from polyrank.errors import RunFolderError
from polyrank.record.kept_states import keep_state
from polyrank.record.run_folder import RunFolder
from tests.small import small
from tests.whole_runs import contents, of_kind


class Told(Silent):
    """Remember what a person is told."""

    def __init__(self) -> None:
        self.notes: list[str] = []

    def note(self, text):
        self.notes.append(text)


def flip(path: Path, bit: int) -> None:
    data = bytearray(path.read_bytes())
    data[bit // 8] ^= 1 << bit % 8
    path.write_bytes(data)


def flip_last(path: Path) -> None:
    """Flip the sign of the last number."""
    flip(path, 8 * path.stat().st_size - 1)


def test_a_flipped_bit_is_noticed(tmp_path):
    """In the header, in the names and in the numbers; also of tensors without any numbers."""
    tensors = {"fc/a": torch.rand(3, 2), "fc/b": torch.rand(0, 3), "n": torch.tensor(7)}
    file = tmp_path / "state"
    save_tensors(file, tensors, {"round": 3, "who": "me"})
    whole = file.read_bytes()
    assert load_tensors(file)[1] == {"round": 3, "who": "me"}
    for bit in range(0, 8 * len(whole), 11):
        file.write_bytes(whole)
        flip(file, bit)
        with pytest.raises(RunFolderError, match=r"state: (damaged|expected format 1)"):
            load_tensors(file)


@pytest.mark.parametrize("harm", [flip_last, lambda path: os.truncate(path, 1000)])
@pytest.mark.parametrize(
    "kind", ["factors of the client's own", "factors beside a changed base"], ids=["own", "base"]
)
def test_a_damaged_state_is_told_and_the_one_before_gone_on_from(tmp_path, kind, harm):
    settings = of_kind(kind, rounds=4)
    polyrank.run(settings, out=tmp_path / "whole")
    polyrank.run(settings.model_copy(update={"rounds": 3}), out=tmp_path / "cut")
    state = tmp_path / "cut" / "checkpoint" / "round-000003.safetensors"
    harm(state)
    told = Told()
    polyrank.resume(tmp_path / "cut", overrides=["rounds=4"], watcher=told, trust=True)
    (note,) = told.notes
    assert note.startswith(f"{state}: damaged")
    assert note.endswith("; going on from round 2")
    assert contents(tmp_path / "cut") == contents(tmp_path / "whole")


def test_two_states_are_kept_and_if_both_are_damaged_the_newest_is_named(tmp_path):
    polyrank.run(small(rounds=3), out=tmp_path / "run")
    states = RunFolder.open(tmp_path / "run").states()
    assert [s.name for s in states] == ["round-000003.safetensors", "round-000002.safetensors"]
    for state in states:
        flip_last(state)
    before = contents(tmp_path / "run")
    with pytest.raises(RunFolderError, match=r"round-000003.*no earlier state that is whole"):
        polyrank.resume(tmp_path / "run", overrides=["rounds=4"], trust=True)
    assert contents(tmp_path / "run", but=("config.toml",)).items() <= before.items()


@pytest.mark.parametrize("name", ["base", "head"])
def test_what_a_run_began_with_is_named_when_it_is_damaged(tmp_path, name):
    head = {"adapter": {"targets": ["fc1"], "extras": ["fc2"]}, "head_init": "lda"}
    polyrank.run(small(rounds=1, **head), out=tmp_path / "run")
    file = tmp_path / "run" / "checkpoint" / f"{name}.safetensors"
    flip_last(file)
    with pytest.raises(RunFolderError, match=rf"{name}\.safetensors: damaged"):
        polyrank.resume(tmp_path / "run", overrides=["rounds=2"], trust=True)


@pytest.mark.parametrize(
    ("began", "edited", "key"),
    [
        ('kind = "rbla"', 'kind = "fedex"', "aggregator.kind"),
        ("learning_rate = 0.01", "learning_rate = 0.02", "training.learning_rate"),
    ],
)
def test_settings_edited_in_the_folder_are_named_on_resume(tmp_path, began, edited, key):
    polyrank.run(small(rounds=1), out=tmp_path / "run")
    config = tmp_path / "run" / "config.toml"
    assert config.read_text().count(began) == 1
    config.write_text(config.read_text().replace(began, edited))
    with pytest.raises(
        RunFolderError, match=rf"config.toml: expected what .* began with, got another {key}"
    ):
        polyrank.resume(tmp_path / "run", overrides=["rounds=2"], trust=True)
    config.write_text(config.read_text().replace(edited, began))
    polyrank.resume(
        tmp_path / "run", overrides=["rounds=2", "workers=1", "task_timeout=60"], trust=True
    )


def test_a_disk_that_does_not_give_back_what_was_written_leaves_the_state_before(
    tmp_path, monkeypatch
):
    folder = RunFolder(tmp_path)
    folder.clients.mkdir(parents=True)
    for number in (1, 2):
        keep_state(folder, number, {"a": torch.ones(1)}, {})
    monkeypatch.setattr(
        polyrank.record.kept_states,
        "save_tensors",
        lambda path, tensors, header: path.write_bytes(b"x"),
    )
    with pytest.raises(RunFolderError):
        keep_state(folder, 3, {"a": torch.ones(1)}, {})
    assert folder.state_path(1).exists()
    assert folder.state_path(2).exists()
