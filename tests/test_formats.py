"""What was written in another format is refused by name, and by other versions gone on with."""

import json

import pytest

import polyrank
from polyrank.console.progress import Silent
from polyrank.disk.checkpoint import load_tensors, save_tensors
from polyrank.errors import MessageError, RunFolderError, SettingsError
from polyrank.formats import check_format
from polyrank.protocol.messages import Failure, TaskId
from polyrank.protocol.wire import pack, unpack
from polyrank.record.run_folder import RunFolder
from polyrank.report import read_run
from polyrank.settings.toml import load_settings
from tests.small import small
from tests.written import summary_in

OTHER = r"expected format 1, got 2: written by polyrank 9\.9"


class Told(Silent):
    """Remember what a person is told."""

    def __init__(self):
        self.notes = []

    def note(self, text):
        self.notes.append(text)


@pytest.fixture
def run(tmp_path):
    return polyrank.run(small(rounds=1, aggregator="fedsa"), out=tmp_path / "run").folder


@pytest.fixture
def later(monkeypatch):
    """Write as a later version would."""

    def switch(on: bool):
        for module in ("polyrank.disk.checkpoint", "polyrank.protocol.wire"):
            monkeypatch.setattr(f"{module}.FORMAT", 2 if on else 1)
            monkeypatch.setattr(f"{module}.VERSION", "9.9" if on else "0.1.0")

    return switch


def resume(folder, watcher=None):
    return polyrank.resume(folder, overrides=["rounds=2"], trust=True, watcher=watcher)


@pytest.mark.parametrize("name", ["round-*", "base"])
def test_tensors_of_another_format_are_refused_by_name(run, later, name):
    for path in (run / "checkpoint").glob(f"{name}.safetensors"):
        tensors, header = load_tensors(path)
        later(True)
        save_tensors(path, tensors, header)
        later(False)
    with pytest.raises(RunFolderError, match=rf"{name.strip('*')}.*\.safetensors: {OTHER}"):
        resume(run)


def test_what_a_client_kept_in_another_format_is_refused_by_name(run, later):
    path = next((run / "checkpoint" / "clients").glob("0.*"))
    tensors, header = load_tensors(path)
    later(True)
    save_tensors(path, tensors, header)
    later(False)
    with pytest.raises(RunFolderError, match=OTHER):
        polyrank.export(run, run.parent / "out", client="0", trust=True)


def test_tensors_from_before_there_were_formats_are_refused(tmp_path, later):
    from safetensors.torch import save_file

    save_file({}, tmp_path / "old", {"polyrank": json.dumps(["0123", {"round": 1}])})
    with pytest.raises(RunFolderError, match="expected format 1, got none: written by another"):
        load_tensors(tmp_path / "old")


def test_settings_of_another_format_are_refused_and_those_of_a_person_may_leave_it_out(run):
    path = run / "config.toml"
    text = path.read_text()
    assert text.startswith("format = 1\n")
    path.write_text(text.replace("format = 1", "format = 2"))
    for read in (lambda: load_settings(path), lambda: resume(run)):
        with pytest.raises(SettingsError, match=r"config\.toml: expected format 1, got 2"):
            read()
    with pytest.raises(RunFolderError, match=r"config\.toml: expected format 1, got 2"):
        read_run(run)
    own = run.parent / "own.toml"
    own.write_text(text.removeprefix("format = 1\n"))
    assert load_settings(own) == small(rounds=1, aggregator="fedsa")


@pytest.mark.parametrize(
    ("given", "told"),
    [({"format": 2, "polyrank": "9.9"}, OTHER), ({}, "got none: written by another version")],
)
def test_a_summary_of_another_format_is_refused_by_name(run, given, told):
    summary = {k: v for k, v in summary_in(run).items() if k not in ("format", "polyrank")}
    (run / "summary.json").write_text(json.dumps({**summary, **given}))
    for read in (read_run, lambda path: RunFolder(path).read_summary()):
        with pytest.raises(RunFolderError, match=rf"summary\.json: .*{told}"):
            read(run)


def test_a_message_of_another_format_is_refused_by_name(later):
    later(True)
    data = pack(Failure(TaskId("train", 1, "a", 1), "away"))
    later(False)
    with pytest.raises(MessageError, match=f"message: {OTHER}"):
        unpack(data)


@pytest.mark.parametrize("found", [None, 0, 2, True, 1.0, "1"])
def test_nothing_but_the_number_is_the_format(found):
    check_format(1, "x", RunFolderError)
    with pytest.raises(RunFolderError, match="expected format 1"):
        check_format(found, "x", RunFolderError)


def test_a_run_of_other_versions_goes_on_and_says_that_bits_may_differ(run, monkeypatch):
    whole = polyrank.run(small(rounds=2, aggregator="fedsa"), out=run.parent / "whole")
    state = RunFolder.open(run).last_state()
    tensors, header = load_tensors(state)
    assert header["versions"]["polyrank"] == summary_in(run)["polyrank"] == polyrank.__version__
    assert header["versions"]["torch"] == summary_in(run)["torch"]
    told = Told()
    header["versions"] = {"polyrank": "0.0.9", "torch": "1.13"}
    save_tensors(state, tensors, header)
    assert resume(run, told).summary == whole.summary
    (note,) = told.notes
    assert "written by polyrank 0.0.9, torch 1.13, gone on with by polyrank 0.1.0" in note
    assert note.endswith("the bits may differ")


@pytest.mark.parametrize("versions", [None, [], "0.1.0"])
def test_versions_that_are_damaged_are_named(run, versions):
    state = RunFolder.open(run).last_state()
    tensors, header = load_tensors(state)
    save_tensors(state, tensors, {**header, "versions": versions})
    with pytest.raises(RunFolderError, match=r"round-.*: damaged"):
        resume(run)
