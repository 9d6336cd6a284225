"""What is seen of a run with ranks by need: at its end, in the card, the table and the page."""

import io
import json
import re

import pytest
from rich.console import Console

import polyrank
from polyrank.client.loaded_model import LoadedModel
from polyrank.console.result_table import render
from polyrank.report.parts import Figure, Sheet
from polyrank.report.ranks import ranks
from polyrank.report.reading import read_run
from tests.allocators.test_need import by_need
from tests.written import lines_in, summary_in


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Six rounds: the slots grow, and two of four clients take part in a round."""
    path = tmp_path_factory.mktemp("seen") / "run"
    training = {"epochs": 3, "batch_size": 16, "learning_rate": 0.02}
    polyrank.run(by_need(rounds=6, cohort_size=2, training=training), out=path)
    return path


def figures(folder):
    parts = ranks(read_run(folder)).parts
    return {part.key: part for part in parts if isinstance(part, Figure | Sheet)}


def test_the_exported_model_is_judged_once_more_at_the_end(folder):
    """On the same rows its whole loss is that of the last evaluation."""
    found, last = summary_in(folder)["truncation"], lines_in(folder, "rounds")[-1]
    assert found["held_by"] == "server"
    assert found["curve"][0]["slots"] == 0
    assert found["curve"][-1]["loss"] == pytest.approx(last["validation"]["loss"], rel=1e-5)
    assert found["curve"][0]["loss"] > found["curve"][-1]["loss"]
    assert "cuts" in lines_in(folder, "timings")[6]["seconds"]


def test_the_end_of_a_run_without_validation_rows_is_judged_and_counted_too(tmp_path):
    data = {"source": "tests.small:tiny_digits", "validation": 0}
    polyrank.run(by_need(rounds=1, data=data), out=tmp_path / "run")
    assert summary_in(tmp_path / "run")["truncation"]["held_by"] == "clients"
    (line,) = lines_in(tmp_path / "run", "rounds")[1:]
    updates = [x for x in lines_in(tmp_path / "run", "clients") if x["event"] == "update"]
    assert line["bytes"]["down"] == 2 * sum(x["bytes"]["down"] for x in updates)


def test_a_run_that_goes_on_after_its_last_round_knows_its_curve(tmp_path, folder):
    """What was found is in the state, for a kill before the summary is written."""
    found = summary_in(folder)["truncation"]
    (folder / "summary.json").unlink()
    polyrank.resume(folder, trust=True)
    assert summary_in(folder)["truncation"] == found


def test_other_allocators_judge_no_cut_model(tmp_path):
    polyrank.run(by_need(allocator="uniform", rounds=1), out=tmp_path / "run")
    assert "truncation" not in summary_in(tmp_path / "run")


def test_the_card_has_the_curve_and_says_which_rank_suffices(folder, tmp_path):
    polyrank.export(folder, out=tmp_path / "peft", trust=True)
    card = (tmp_path / "peft" / "README.md").read_text()
    found = summary_in(folder)["truncation"]
    section = card.partition("## How many slots it needs")[2].partition("##")[0]
    assert f"on {found['rows']} validation rows." in section
    assert re.search(r"A rank of \d+ keeps 99 % of what all \d+ slots gain", section)
    for cut in found["curve"]:
        assert f"| {cut['slots']} | {cut['loss']:.4f} |" in section
    config = json.loads((tmp_path / "peft" / "adapter_config.json").read_text())
    slots = min(lines_in(folder, "rounds")[-1]["down"], 16)
    assert max([config["r"], *config["rank_pattern"].values()]) == slots


def test_the_card_of_a_clients_own_model_has_no_curve_of_another(folder, tmp_path):
    client = next(x["client"] for x in lines_in(folder, "clients") if x["event"] == "update")
    polyrank.export(folder, out=tmp_path / "own", client=client, trust=True)
    assert "How many slots" not in (tmp_path / "own" / "README.md").read_text()


def test_the_table_shows_what_was_sent_what_it_holds_and_the_curves(folder):
    file = io.StringIO()
    render(folder, Console(file=file, width=80))
    text = file.getvalue()
    lines = text.splitlines()
    assert lines[0].startswith("Ranks sent by module;")
    assert lines[1].split()[3:6] == ["fc1", "fc2", "holds"]
    last = {x["client"]: x for x in lines_in(folder, "clients") if x["event"] == "update"}
    for line in lines[2:6]:
        client, _, _, *cells = line.split()
        update = last[client]
        assert cells[:2] == [str(rank) for rank in update["ranks"].values()]
        assert cells[2] == str(int(100 * min(update["shares"].values()) + 1e-9))
    assert "Loss of the global model cut to its first slots" in text
    measured = [x["round"] for x in lines_in(folder, "rounds") if x.get("cuts")]
    shown = [line for line in lines if line.startswith(("after round", "as exported"))]
    assert len(shown) == len(measured) + 1
    assert shown[-1].split()[2] == f"{summary_in(folder)['truncation']['curve'][0]['loss']:.3g}"
    assert re.search(r"ranks sent +[\d.]+ to [\d.]+, mean [\d.]+ \(need\)", text)
    assert all(len(line) <= 80 for line in lines if "/" not in line)


def test_the_page_has_a_line_a_round_and_the_slots_by_round(folder):
    found, rounds = figures(folder), lines_in(folder, "rounds")
    measured = [x for x in rounds if x.get("cuts")]
    traces = found["truncation"].traces
    assert len(traces) == len(measured) + 1
    for trace, line in zip(traces, measured, strict=False):
        assert trace["name"] == f"after round {line['round'] - 1}"
        assert list(zip(trace["x"], trace["y"], strict=True)) == [
            (cut["slots"], cut["loss"]) for cut in line["cuts"]
        ]
    slots = found["server-slots"].traces[0]
    assert slots["x"] == [1, 2, 3, 4, 5, 6]
    changes = [x for x in lines_in(folder, "clients") if x["event"] == "ranks"]
    for change in changes:
        assert slots["y"][change["round"] - 1] == max(change["ranks"].values())
    assert slots["y"][0] == 12
    sent = next(x for x in found["server-slots"].traces if x["name"] == "sent to clients")
    assert sent["y"] == [x["down"] for x in rounds[1:]]
    assert sent["y"][0] == 3


def test_the_page_shows_what_each_client_sent_and_what_it_holds(folder):
    found = figures(folder)
    (heat,) = found["sent-history"].traces
    updates = [x for x in lines_in(folder, "clients") if x["event"] == "update"]
    for line in updates:
        row, column = heat["y"].index(line["client"]), line["round"] - 1
        ranks = line["ranks"].values()
        assert heat["z"][row][column] == pytest.approx(sum(ranks) / len(ranks), abs=1e-3)
        assert heat["customdata"][row][column] == min(line["shares"].values())
    assert sum(value is not None for row in heat["z"] for value in row) == len(updates) == 12
    (by_round,) = found["sent-modules"].traces
    last = [x["ranks"]["fc1"] for x in updates if x["round"] == 6]
    assert by_round["z"][by_round["y"].index("fc1")][5] == sum(last) / 2
    assert "ranks" not in found
    sheet = found["clients"].filled
    titles = [column.title for column in sheet.columns]
    for row in sheet.rows:
        cells = dict(zip(titles, row, strict=True))
        own = [x for x in updates if x["client"] == cells["Client"]][-1]
        name = "Rank sent of fc1" if "Rank sent of fc1" in cells else "Rank sent"
        assert cells[name] == own["ranks"]["fc1"]
        assert cells["Least share held"] == min(own["shares"].values())
        assert f"of its change in round {own['round']}" in cells["Why"]


def test_before_the_first_update_the_page_shows_the_ranks_of_the_start(folder, tmp_path):
    for name in ("config.toml", "rounds.jsonl", "clients.jsonl"):
        lines = (folder / name).read_text().splitlines(keepends=True)
        kept = [x for x in lines if name == "config.toml" or '"update"' not in x]
        (tmp_path / name).write_text("".join(kept[:1] if name == "rounds.jsonl" else kept))
    assert "ranks" in figures(tmp_path)


@pytest.fixture
def rates(monkeypatch):
    """Slots that a client trained -> by what its learning rate was multiplied."""
    real, found = LoadedModel.fit, {}

    def watched(model, task, *given, **named):
        most = max(f.rank for f in task.download.adapter.values())
        if task.slots is not None:
            most = max(map(len, task.slots.values()))
        found.setdefault(most, set()).add(task.rate)
        return real(model, task, *given, **named)

    monkeypatch.setattr(LoadedModel, "fit", watched)
    return found


def test_a_client_with_more_slots_than_at_the_start_takes_smaller_steps(tmp_path, rates):
    """All slots step at once: a rate that suits few diverges with many."""
    growing = {"kind": "need", "start": 2, "reserve": 3.0, "spare": 1.0}
    training = {"epochs": 3, "batch_size": 16, "learning_rate": 0.02}
    settings = by_need(rounds=5, allocator=growing, training=training).model_dump(exclude={"ranks"})
    polyrank.run({**settings, "ranks": {"caps": {"3": 2}}}, out=tmp_path / "run")
    assert {2, 4} < rates.keys()
    assert max(rates) >= 16, "the slots have not grown"
    assert rates == {slots: {min(1.0, (4 / slots) ** 0.5)} for slots in rates}


def test_one_rank_for_all_keeps_its_learning_rate(tmp_path, rates):
    uniform = {"kind": "uniform", "rank": 8}
    polyrank.run(by_need(allocator=uniform, rounds=2), out=tmp_path / "run")
    assert rates == {8: {1.0}}
