"""What ranks a next run needs, read off a run folder; by hand."""

import io
import json

import pytest
from rich.console import Console

from polyrank.errors import RunFolderError
from polyrank.lora.shapes import ModuleShape
from polyrank.planning.next_ranks import next_ranks
from polyrank.server.ranks import RankChooser
from polyrank.settings.toml import load_settings
from tests.commands import command
from tests.written import whole_client, whole_round, whole_summary

ODD = 'layer."1" é'
SENT = {  # client -> what it sent of two modules, by update; "10" comes before "2"
    "10": [(9, 9), (2, 2), (3, 1), (4, 2)],
    "2": [(6, 4), (6, 5)],
    "new": [],
    "wide": [(20, 30)],
}
CUTS = [(0, 2.0), (4, 1.3), (6, 1.001), (12, 1.0)]
AT_THE_END = [(0, 2.0), (4, 1.001), (12, 1.0)]


def losses(curve):
    return [{"slots": slots, "loss": loss} for slots, loss in curve]


def write(folder, *, finished=False, cuts=CUTS, sent=SENT):
    folder.mkdir()
    (folder / "config.toml").write_text("rounds = 4\n")
    rounds = [{"round": n} for n in range(5)]
    rounds[2]["cuts"] = losses([(0, 2.0), (12, 1.9)])
    rounds[3]["cuts"] = losses(cuts)
    lines = [{"event": "profile", "client": client, "ranks": {"fc1": 8, ODD: 5}} for client in sent]
    lines += [
        {"event": "ranks", "client": client, "round": 2, "ranks": {"fc1": 12, ODD: 5}}
        for client in sent
    ]
    for client, ranks in sent.items():
        for number, (first, second) in enumerate(ranks, 1):
            shares = {"fc1": 0.9, ODD: 0.8 + number / 100}
            update = {"event": "update", "client": client, "round": number, "shares": shares}
            lines.append({**update, "ranks": {"fc1": first, ODD: second}})
    texts = {
        "rounds.jsonl": [whole_round(line) for line in rounds if cuts or line["round"] < 2],
        "clients.jsonl": [whole_client(line) for line in lines],
    }
    for name, records in texts.items():
        (folder / name).write_text("".join(json.dumps(record) + "\n" for record in records))
    if finished:
        found = {"curve": losses(AT_THE_END), "rows": 9, "held_by": "server"}
        (folder / "summary.json").write_text(json.dumps(whole_summary({"truncation": found})))
    return folder


def test_the_server_needs_what_the_last_curve_says(tmp_path):
    assert next_ranks(write(tmp_path / "cut short")).rank == 6
    assert next_ranks(write(tmp_path / "done", finished=True)).rank == 4


def test_clients_need_the_mean_of_their_last_three_updates_rounded_up(tmp_path):
    """Client 10: (2 + 2, 3 + 1, 4 + 2) / 6 = 2.33; 2: 5.25; wide: more than the server's 6."""
    found = next_ranks(write(tmp_path / "run"))
    assert [need.client for need in found.clients] == ["10", "2", "new", "wide"]
    assert found.clients[0].modules == pytest.approx({"fc1": 3.0, ODD: 5 / 3})
    assert found.clients[0].share == pytest.approx(0.82)  # of update 2, the first of the three
    assert [need.rank for need in found.clients] == pytest.approx([7 / 3, 5.25, None, 25.0])
    assert found.ranks == [3, 6, 6, 6]  # the new one has the others' mean, 10.9, cut too


def test_its_lines_are_settings_that_give_just_these_ranks(tmp_path):
    found = next_ranks(write(tmp_path / "run"))
    shapes = {"fc1": ModuleShape(40, 30), ODD: ModuleShape(30, 5)}
    given = {}
    for kind, lines in found.settings().items():
        path = tmp_path / f"{kind}.toml"
        path.write_text(f"partition = {{ kind = 'iid', clients = 4 }}\n{lines}", encoding="utf-8")
        chooser = RankChooser(load_settings(path), ["10", "2", "new", "wide"], shapes)
        choice, _ = chooser.choose(None, [], 0)
        given[kind] = {module: ranks.tolist() for module, ranks in choice.ranks.items()}
    assert given["uniform"] == {"fc1": [6] * 4, ODD: [5] * 4}
    assert given["ratio"] == {"fc1": [3, 6, 6, 6], ODD: [2, 5, 5, 5]}


def test_it_is_printed_and_given_as_json(tmp_path):
    folder = write(tmp_path / "run")
    found, file = next_ranks(folder), io.StringIO()
    found.render(Console(file=file, width=80))
    said = file.getvalue()
    assert "A rank of 6 keeps 99 % of what all 12 slots gain" in said
    assert [line.split()[-1] for line in said.splitlines()[3:7]] == ["3", "6", "6", "6"]
    assert all(lines in said for lines in found.settings().values())
    told = json.loads(command(f"polyrank plan {folder} --json", 0))
    assert told["rank"] == 6
    assert told["clients"]["10"] == {
        "sent": pytest.approx(7 / 3),
        "modules": {"fc1": 3.0, ODD: pytest.approx(5 / 3)},
        "least_share": pytest.approx(0.82),
        "rank": 3,
    }
    assert told["settings"] == found.settings()


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"sent": {"a": []}}, "0 clients that sent a change and a truncation curve"),
        ({"cuts": []}, "3 clients that sent a change and no truncation curve"),
        ({"cuts": [(0, 1.0), (12, 1.0)]}, "slots that gain something on the judged rows"),
        ({"cuts": [(0, None), (12, 1.0)]}, "slots that gain something on the judged rows"),
        ({"sent": {"a": [(0, 0)]}}, "clients that changed something, got none"),
    ],
)
def test_a_run_that_says_nothing_of_ranks_is_named(tmp_path, changes, said):
    with pytest.raises(RunFolderError, match=said):
        next_ranks(write(tmp_path / "run", **changes))


@pytest.mark.parametrize("option", ["--r-min 4", "--budget 3", "--out x.csv", "--cost a"])
def test_options_for_a_csv_file_are_refused_with_a_run_folder(tmp_path, option):
    said = command(f"polyrank plan {write(tmp_path / 'run')} {option}", 2)
    assert f"{option.split()[0]}: expected with a CSV file" in said
