"""The run folder: what is cut, kept and forgotten."""

import json

from polyrank.record.lines import TimingLine
from polyrank.record.run_folder import RunFolder
from tests.written import a_round, about_client


def folder_of(tmp_path):
    """Rounds 0 to 2 with a state each, and lines that a killed round 3 has left."""
    folder = RunFolder(tmp_path)
    folder.clients.mkdir(parents=True)
    lengths = {}
    for number in range(3):
        folder.append("rounds", [a_round(round=number)])
        folder.append("clients", [about_client({"event": "ranks", "round": number, "client": "a"})])
        folder.append("timings", [TimingLine(round=number, seconds={})])
        folder.state_path(number).write_bytes(b"")
        lengths[number] = folder.lengths()
    folder.append("rounds", [a_round(round=3)])
    folder.append("timings", [TimingLine(round=3, seconds={})])
    with (tmp_path / "clients.jsonl").open("a") as file:
        file.write('{"rou')
    return folder, lengths


def test_records_are_cut_to_those_of_the_last_finished_round(tmp_path):
    folder, lengths = folder_of(tmp_path)
    folder.cut(2, lengths[2])
    for kind in ("rounds", "clients", "timings"):
        text = (tmp_path / f"{kind}.jsonl").read_text()
        assert [json.loads(line)["round"] for line in text.splitlines()] == [0, 1, 2]


def test_the_newest_state_is_the_one_to_go_on_from(tmp_path):
    folder, _ = folder_of(tmp_path)
    folder.state_path(10).write_bytes(b"")
    assert folder.last_state() == folder.state_path(10)


def test_states_before_a_round_are_forgotten_and_what_a_killed_write_left(tmp_path):
    folder, _ = folder_of(tmp_path)
    left = folder.checkpoint / ".round-000003.safetensors.tmp"
    left.write_bytes(b"")
    folder.forget_states_before(1)
    kept = {path for path in folder.checkpoint.iterdir() if path.is_file()}
    assert kept == {folder.state_path(1), folder.state_path(2)}
