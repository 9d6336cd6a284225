"""Each control as settings, and what runs of them come to."""

import io
import json
from math import ceil, exp

import numpy as np
import pytest
from rich.console import Console

import polyrank
from polyrank import control
from polyrank.console.progress import round_text
from polyrank.console.result_table import render
from polyrank.errors import SettingsError, UnknownNameError
from polyrank.partitioners import PARTITIONERS
from polyrank.record.new_folder import new_folder
from polyrank.record.run_folder import RunFolder
from polyrank.record.summary import summarize
from polyrank.report.arms import arms_of, run_names
from polyrank.report.comparison import comparison
from polyrank.report.headline import headline
from polyrank.report.outcome import outcome
from polyrank.report.parts import Sheet
from polyrank.report.reading import read_run
from polyrank.runs.loading import load_split
from polyrank.runs.model_card import model_card
from polyrank.settings.controls import CONTROLS
from polyrank.settings.toml import changed_keys, make_settings
from tests.small import small
from tests.written import a_round, about_client, lines_in, some_facts, summary_in

HELPED = {
    "aggregator": "anchored",
    "server_optimizer": {"kind": "fedavgm", "momentum": 0.5},
    "average": 0.8,
    "ranks": {"budget": 3, "caps": {"3": 4}},
    "training": {"prox_mu": 0.1, "local_loss": "calibrated", "schedule": "linear"},
}


@pytest.fixture(scope="module")
def run():
    return small(name="mine", **HELPED)


@pytest.fixture(scope="module")
def folders(run, tmp_path_factory):
    """Run folders of a run and of its controls, by the control's name."""
    runs = {"run": run, **{kind: control(run, kind) for kind in CONTROLS}}
    top = tmp_path_factory.mktemp("controls")
    for kind, settings in runs.items():
        polyrank.run(settings, out=top / kind)
    return {kind: RunFolder.open(top / kind) for kind in runs}


def events(folder, kind):
    return {r["client"]: r for r in lines_in(folder, "clients") if r["event"] == kind}


def test_what_each_control_changes(run):
    off = {
        *("aggregator.kind", "recipe", "server_optimizer.kind", "server_optimizer.momentum"),
        *("average", "training.prox_mu", "training.local_loss"),
    }
    expected = {
        "alone": off
        | {"rounds", "training.epochs", "training.schedule", "evaluation.global_model"},
        "pooled": off
        | {"partition.kind", "partition.clients", "ranks.budget", "ranks.caps.3"}
        | {"allocator.kind"},
        "uniform": {"allocator.kind", "allocator.of", "allocator.of_options"},
    }
    for kind, keys in expected.items():
        changed = control(run, kind)
        assert set(changed_keys(run, changed)) == keys | {"name"}, kind
        assert changed.name == f"mine-{kind}"
    assert control(run, "pooled").training.schedule == "linear"


@pytest.mark.parametrize("aggregator", ["ffa", "hetlora", "rolora", "fedsa"])
def test_alone_and_uniform_start_with_the_head_and_the_measures_of_the_run(tmp_path, aggregator):
    """Whatever the run has clients train, and with which loss."""
    settings = small(
        aggregator=aggregator,
        rounds=1,
        head_init="lda",
        adapter={"targets": ["fc1"], "extras": ["fc2"]},
        criteria=["loss_entropy", "sample_count"],
        training={"prox_mu": 0.1, "local_loss": "calibrated"},
    )
    made = {"run": settings, **{kind: control(settings, kind) for kind in ("alone", "uniform")}}
    runs = {kind: polyrank.run(s, out=tmp_path / kind).folder for kind, s in made.items()}
    for kind in ("alone", "uniform"):
        head = "checkpoint/head.safetensors"
        assert (runs[kind] / head).read_bytes() == (runs["run"] / head).read_bytes()
        own, ours = (RunFolder.open(runs[k]) for k in (kind, "run"))
        starts = lines_in(own, "rounds")[0], lines_in(ours, "rounds")[0]
        assert starts[0]["test"] == starts[1]["test"]
        measured, known = events(own, "profile"), events(ours, "profile")
        assert {c: p["criteria"] for c, p in measured.items()} == {
            c: p["criteria"] for c, p in known.items()
        }
        if kind == "alone":
            assert {c: p["ranks"] for c, p in measured.items()} == {
                c: p["ranks"] for c, p in known.items()
            }


def test_uniform_without_a_budget_spends_what_the_run_spends(tmp_path):
    """fc1 is 64 to 16 and fc2 16 to 10: a slot is 80 or 26 parameters."""
    settings = small(rounds=1)
    cost = {}
    for kind, given in (("run", settings), ("uniform", control(settings, "uniform"))):
        ranks = polyrank.run(given, out=tmp_path / kind).summary["ranks"].values()
        cost[kind] = sum(80 * of["fc1"] + 26 * of["fc2"] for of in ranks)
    for module in ("fc1", "fc2"):
        assert max(of[module] for of in ranks) - min(of[module] for of in ranks) <= 1
    assert 0 <= cost["run"] - cost["uniform"] < 80


def test_settings_of_a_control_survive_their_file(run, tmp_path):
    for kind in CONTROLS:
        settings = control(run, kind)
        with new_folder(tmp_path / kind, settings) as folder:
            assert folder.settings == settings


@pytest.mark.parametrize(
    ("changes", "turns"),
    [
        ({"rounds": 6}, 6),
        ({"rounds": 6, "cohort_fraction": 0.5}, 3),
        ({"rounds": 8, "cohort_size": 1}, 2),  # of four clients
        ({"rounds": 6, "cohort_size": 4, "quorum": 3}, 6),
        ({"rounds": 1, "cohort_fraction": 0.1}, 1),
    ],
)
def test_a_control_lasts_as_long_as_a_client_trains_on_average(changes, turns):
    settings = small(training={"epochs": 2}, **changes)
    alone, pooled = control(settings, "alone"), control(settings, "pooled")
    assert (alone.rounds, alone.training.epochs) == (1, 2 * turns)
    assert (pooled.rounds, pooled.training.epochs) == (turns, 2)
    for made in (alone, pooled):
        assert made.cohort_size is None
        assert made.cohort_fraction is None


def test_pooled_takes_the_steps_of_all_clients_and_alone_its_own():
    settings = small(rounds=3, training={"steps": 5})
    assert control(settings, "alone").training.steps == 15
    assert control(settings, "pooled").training.steps == 20  # in each of three rounds


@pytest.mark.parametrize(
    ("changes", "kind", "said"),
    [
        ({}, "alon", "did you mean 'alone'"),
        ({"data": {"source": "digits", "client_test": 0}}, "alone", "data.client_test above 0"),
        ({"partition": "natural", "cohort_size": 2}, "alone", "partition.clients with cohort_size"),
        (
            {"partition": "natural", "training": {"steps": 2}},
            "pooled",
            "partition.clients with training.steps",
        ),
    ],
)
def test_what_cannot_be_is_said(changes, kind, said):
    with pytest.raises(SettingsError, match=said) as raised:
        control(small(**changes), kind)
    assert isinstance(raised.value, UnknownNameError) == (kind not in CONTROLS)


def test_without_the_global_model_clients_need_test_rows():
    with pytest.raises(SettingsError, match=r"expected data\.client_test above 0, got 0"):
        make_settings({"evaluation": {"global_model": False}, "data": {"client_test": 0}})


@pytest.mark.parametrize("name", [name for name in PARTITIONERS if name != "natural"])
def test_pooled_holds_the_rows_of_all_clients_and_the_server_the_same(name):
    settings = small(partition={"kind": name, "clients": 5}, pretrain={"share": 0.2})
    data, parts = load_split(settings)
    same, pooled = load_split(control(settings, "pooled"))
    assert np.array_equal(data.test_x, same.test_x)
    assert np.array_equal(data.test_y, same.test_y)
    assert np.array_equal(parts.validation, pooled.validation)
    assert np.array_equal(parts.public, pooled.public)
    (one,) = pooled.clients
    held = np.concatenate([rows for c in parts.clients for rows in (c.train, c.test)])
    assert not len(parts.left_out)
    assert np.array_equal(np.sort(held), np.sort(np.concatenate([one.train, one.test])))
    assert abs(len(one.test) - sum(len(c.test) for c in parts.clients)) <= len(parts.clients)


def test_all_begin_with_the_same_frozen_base_on_the_same_rows(folders):
    starts = [lines_in(folder, "rounds")[0] for folder in folders.values()]
    for part in ("validation", "test"):
        assert all(start[part] == starts[0][part] for start in starts)


def test_alone_trains_as_long_as_the_run_with_its_ranks(folders):
    run, alone = summary_in(folders["run"]), summary_in(folders["alone"])
    sizes = [p["examples"]["train"] for p in events(folders["run"], "profile").values()]
    assert alone["steps"]["training"] == run["steps"]["training"]
    assert alone["steps"]["training"] == 3 * sum(ceil(n / 16) for n in sizes)
    assert alone["ranks"] == run["ranks"]
    assert len({tuple(of.values()) for of in run["ranks"].values()}) > 1


def test_alone_is_the_same_whatever_the_run_does_on_the_server(tmp_path):
    first = small(aggregator="zero_padding", allocator={"kind": "uniform", "rank": 3})
    training = {"prox_mu": 0.1, "local_loss": "calibrated", "schedule": "linear"}
    other = small(allocator={"kind": "uniform", "rank": 3}, average=0.8, training=training)
    left = polyrank.run(control(first, "alone"), out=tmp_path / "a").folder
    right = polyrank.run(control(other, "alone"), out=tmp_path / "b").folder
    files = sorted(p.name for p in (left / "checkpoint/clients").glob("*.safetensors"))
    assert len(files) == 4
    for file in files:
        path = f"checkpoint/clients/{file}"
        assert (left / path).read_bytes() == (right / path).read_bytes()


def test_alone_judges_the_clients_own_models_only(folders):
    rounds, summary = lines_in(folders["alone"], "rounds"), summary_in(folders["alone"])
    assert rounds[0]["test"]
    assert [(r["test"], r["validation"]) for r in rounds[1:]] == [(None, None)]
    finals = events(folders["alone"], "final")
    assert len(finals) == 4
    assert all(f["global"] is None for f in finals.values())
    mean = np.mean([f["personal"]["accuracy"] for f in finals.values()])
    assert summary["personal"]["mean"] == pytest.approx(mean)
    assert summary["accuracy"] == {"final": None, "best": None, "best_round": None}
    assert summary["worst_client"] is None


def test_pooled_is_one_model_of_the_largest_ranks(folders):
    """fc1 is 64 to 16 and r_max 6; fc2 is 16 to 10: no rank is cut."""
    summary = summary_in(folders["pooled"])
    (final,) = events(folders["pooled"], "final").values()
    (profile,) = events(folders["pooled"], "profile").values()
    assert summary["ranks"] == {"0": {"fc1": 6, "fc2": 6}}
    assert final["global"] == pytest.approx(final["personal"], abs=1e-6)
    rows = sum(p["examples"]["train"] for p in events(folders["run"], "profile").values())
    assert abs(profile["examples"]["train"] - rows) <= 4
    assert summary["steps"]["training"] == 3 * ceil(profile["examples"]["train"] / 16)


def test_uniform_has_one_rank_for_all_and_keeps_the_budget(folders):
    summary = summary_in(folders["uniform"])
    for module in ("fc1", "fc2"):
        ranks = [of[module] for of in summary["ranks"].values()]
        assert max(ranks) - min(ranks) <= 1
    assert summary["mean_rank"] == summary_in(folders["run"])["mean_rank"] == 3


def test_a_control_can_be_resumed(folders, tmp_path):
    settings = control(small(rounds=2), "pooled")
    polyrank.run(settings, out=tmp_path / "once")
    polyrank.run(settings.model_copy(update={"rounds": 1}), out=tmp_path / "twice")
    polyrank.resume(tmp_path / "twice", overrides=["rounds=2"], trust=True)
    for file in ("rounds.jsonl", "clients.jsonl", "summary.json", "config.toml"):
        assert (tmp_path / "once" / file).read_bytes() == (tmp_path / "twice" / file).read_bytes()


def test_the_printed_table_of_alone_has_no_global_model(folders):
    file, folder = io.StringIO(), folders["alone"]
    render(folder.path, Console(file=file, width=80))
    said = file.getvalue()
    mean = summary_in(folder)["personal"]["mean"]
    assert f"own accuracy  {mean:.4f}, mean over clients" in said
    assert not any(word in said for word in ("macro-F1", "worst client", " global  "))
    assert " own  why " in said


def test_the_report_shows_alone_by_its_personal_models(folders):
    runs = [read_run(folder.path) for folder in folders.values()]
    arms = arms_of(runs)
    section = comparison(runs, run_names(runs, arms), arms)
    (sheet,) = (p for p in section.parts if isinstance(p, Sheet) and p.key == "runs")
    titles = [column.title for column in sheet.columns]
    plain = [[getattr(cell, "cell", cell) for cell in row] for row in sheet.rows]
    rows = {row[0]: dict(zip(titles, row, strict=True)) for row in plain}
    assert set(rows) == {"mine", "mine-alone", "mine-pooled", "mine-uniform"}
    of_global = ["Accuracy", "Macro-F1", "Balanced accuracy", "Worst client"]
    of_global.append("Global model, own rows")
    assert [rows["mine-alone"][title] for title in of_global] == [None] * 5
    assert None not in [rows["mine"][title] for title in of_global]
    for name, kind in (("mine", "run"), ("mine-alone", "alone")):
        finals = events(folders[kind], "final").values()
        own = np.mean([f["personal"]["accuracy"] for f in finals])
        assert rows[name]["Personal adapters, own rows"] == pytest.approx(own)
    finals = events(folders["run"], "final").values()
    shared = np.mean([f["global"]["accuracy"] for f in finals])
    assert rows["mine"]["Global model, own rows"] == pytest.approx(shared)
    assert "mine-alone" not in section.lead
    prices = [p for p in section.parts if getattr(p, "key", "") == "price"]
    assert [[row[0] for row in p.data.rows] for p in prices] == [["mine", "mine-uniform"]]


def test_the_page_of_alone_leads_with_the_personal_models(folders):
    run = read_run(folders["alone"].path)
    mean = summary_in(folders["alone"])["personal"]["mean"]
    section = outcome(run)
    assert section.lead == (
        f"The clients' own models reached {100 * mean:.1f} % accuracy on their own test rows, "
        "mean over clients. The global model is not judged."
    )
    assert [tile.title for tile in section.parts[0]] == ["Personal adapters", "Ranks", "Sent"]
    assert headline(run).final is None
    assert headline(run).before is not None


def test_the_card_of_a_client_alone_has_no_metrics_of_a_global_model(folders):
    folder = folders["alone"]
    summary = folder.read_summary()
    card = model_card(folder.settings, {}, 1, client="0", merged=False, summary=summary)
    assert "## Metrics\n\nThe run did not evaluate its global model after training." in card


def test_the_line_of_a_round_with_one_client(folders):
    pooled = folders["pooled"].read_rounds()[1]
    assert "  1 client  " in round_text(pooled, 3, 9)
    assert "  4 clients  " in round_text(folders["run"].read_rounds()[1], 3, 9)


def test_a_language_model_alone_is_told_by_the_clients_perplexity():
    tokens = {"perplexity": exp(3.0), "loss": 3.0, "accuracy": 0.2}
    rounds = [a_round(round=0, test=tokens), a_round(round=1)]
    own = {"perplexity": exp(2.0), "loss": 2.0, "accuracy": 0.4}
    clients = [
        about_client({"event": "profile", "client": "0", "ranks": {"fc": 2}}),
        about_client({"event": "final", "client": "0", "personal": own}),
    ]
    summary = summarize(control(small(), "alone"), rounds, clients, some_facts()).as_json()
    assert summary["perplexity"] == {"final": None, "best": None, "best_round": None}
    assert summary["personal"]["mean"] == pytest.approx(exp(2.0))
    assert json.loads(json.dumps(summary))["worst_client"] is None
