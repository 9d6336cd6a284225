import io
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from polyrank.allocators import Budget, Evidence, Limits, ModuleRange
from polyrank.allocators.autorank import autorank
from polyrank.errors import BudgetError, SettingsError, UnknownNameError
from polyrank.planning.rank_plan import parse_weights, plan

CLIENTS = "client,entropy,samples\nb,0.5,30\na,2.0,10\nc,1.25,20\n"


@pytest.fixture
def clients(tmp_path):
    path = tmp_path / "clients.csv"
    path.write_text(CLIENTS, encoding="utf-8")
    return path


def many(path, count):
    rng = np.random.default_rng(0)
    rows = [f"c{at},{rng.random()},{rng.random()}" for at in range(count)]
    path.write_text("client,x,y\n" + "\n".join(rows) + "\n", encoding="utf-8")
    return path


def printed(planned, width=80):
    console = Console(file=io.StringIO(), width=width)
    planned.render(console)
    return console.file.getvalue()


def test_is_autorank_on_the_columns(clients):
    evidence = Evidence(
        ["b", "a", "c"],
        {"entropy": np.array([0.5, 2.0, 1.25]), "samples": np.array([30.0, 10.0, 20.0])},
    )
    limits = Limits({"m": ModuleRange(4, 64, 1)}, Budget("mean_rank", 20.0))
    expected = autorank(evidence, limits, criterion_weights="equal", cost_criteria=("samples",))
    planned = plan(
        clients,
        r_min=4,
        r_max=64,
        budget=20.0,
        criterion_weights="equal",
        cost_criteria=["samples"],
    )
    assert planned.ranks.tolist() == expected.ranks["m"].tolist()
    assert planned.ranks.sum() == 60


def test_json(clients):
    planned = plan(clients, r_min=4, r_max=64, criterion_weights={"entropy": 2.0})
    found = json.loads(planned.to_json())
    assert found["criterion_weights"] == {"entropy": 1.0, "samples": 0.0}
    assert found["ranks"] == {"b": 4, "a": 64, "c": 34}  # 4 + 60 * (1.25 - 0.5) / (2.0 - 0.5)
    assert found["scores"]["a"] == 1.0
    assert list(found) == ["criterion_weights", "rank_spread", "scores", "ranks"]


def test_max_rank_is_a_cap(clients):
    clients.write_text("client,entropy,max_rank\na,2.0,8\nb,1.0,64\n", encoding="utf-8")
    planned = plan(clients, r_min=4, r_max=64)
    assert planned.ranks.tolist() == [8, 4]
    assert list(planned.choice.criterion_weights) == ["entropy"]


def test_csv_holds_client_score_rank_reason(clients, tmp_path):
    out = tmp_path / "ranks.csv"
    plan(clients, r_min=4, r_max=64, criterion_weights={"entropy": 1.0}).write_csv(out)
    assert out.read_text(encoding="utf-8").splitlines() == [
        "client,score,rank,reason",
        "b,0.0,4,position 3 of 3; lowered most by entropy",
        "a,1.0,64,position 1 of 3; lifted most by entropy",
        "c,0.5,34,position 2 of 3",
    ]


def test_csv_appears_whole_or_not_at_all(clients, tmp_path, monkeypatch):
    out = tmp_path / "ranks.csv"
    out.write_text("before", encoding="utf-8")

    def full(descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(SettingsError, match=r"ranks\.csv: cannot be written: No space"):
        plan(clients, r_min=4, r_max=64).write_csv(out)
    assert out.read_text(encoding="utf-8") == "before"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["clients.csv", "ranks.csv"]


def test_csv_into_a_folder_that_is_not_there(clients, tmp_path):
    with pytest.raises(SettingsError, match="cannot be written: No such file"):
        plan(clients, r_min=4, r_max=64).write_csv(tmp_path / "none" / "ranks.csv")


def test_render_fits_eighty_columns_and_says_what_is_left_out(tmp_path):
    text = printed(plan(many(tmp_path / "many.csv", 53), r_min=4, r_max=64, budget=16.0))
    assert max(map(len, text.splitlines())) <= 80
    assert " c39 " in text
    assert " c40 " not in text
    assert "53 clients, mean rank 16.00" in text
    assert "The first 40 are shown, 13 are left out." in text


def test_clients_that_hardly_differ_are_told_in_words(clients):
    clients.write_text("client,samples\na,1000\nb,1001\n", encoding="utf-8")
    planned = plan(clients, r_min=4, r_max=64)
    assert planned.ranks.tolist() == [34, 34]
    text = printed(planned)
    assert "Clients are too alike to tell apart, so all get one rank." in text
    paper = plan(clients, r_min=4, r_max=64, spread="paper")
    assert paper.ranks.tolist() == [4, 64]
    assert "alike" not in printed(paper)
    clients.write_text("client,samples\na,1000\nb,1250\n", encoding="utf-8")
    text = printed(plan(clients, r_min=4, r_max=64))
    assert "Clients differ little, so ranks use 33 % of their range." in text


def test_render_of_few_clients_leaves_none_out(clients):
    assert "left out" not in printed(plan(clients, r_min=4, r_max=64))


def test_render_shows_markup_and_control_characters_as_they_are(clients):
    clients.write_text("client,[b]x[/b]\n[red]a,1\n\x1b[2Jb,2\n", encoding="utf-8")
    text = printed(plan(clients, r_min=4, r_max=64))
    assert "[red]a" in text
    assert "[b]x[/b]" in text
    assert "\x1b[2J" not in text


def test_impossible_settings_are_found_before_the_file_is_read(tmp_path):
    missing = tmp_path / "none.csv"
    with pytest.raises(SettingsError, match="r_min 9, r_max 4"):
        plan(missing, r_min=9, r_max=4)
    with pytest.raises(SettingsError, match="budget"):
        plan(missing, r_min=4, r_max=9, budget=-1)


def test_budget_and_column_errors_reach_the_user(clients):
    with pytest.raises(BudgetError, match="feasible range is 4 to 64"):
        plan(clients, r_min=4, r_max=64, budget=3.0)
    with pytest.raises(UnknownNameError, match="did you mean 'entropy'"):
        plan(clients, r_min=4, r_max=64, cost_criteria=["entropie"])


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("critic", "critic"),
        ("equal", "equal"),
        ("x=1,y=0.5", {"x": 1.0, "y": 0.5}),
        ("a=b=2", {"a=b": 2.0}),
    ],
)
def test_weights_from_the_command_line(text, expected):
    assert parse_weights(text) == expected


@pytest.mark.parametrize("text", ["", "x", "x=", "=1", "x=1,,y=2", "x=1,y=b", "y=b,x=1"])
def test_unreadable_weights(text):
    with pytest.raises(SettingsError, match="name=number"):
        parse_weights(text)


def test_benchmark_runs_and_says_seed_seconds_and_memory():
    script = Path(__file__).parents[2] / "benchmarks" / "plan.py"
    done = subprocess.run(
        [sys.executable, str(script), "--clients", "300", "--criteria", "2", "--seed", "5"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.startswith("300 clients x 2 criteria, seed 5: ")
