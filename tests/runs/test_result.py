"""What ``polyrank.run`` gives, on data that are handed over."""

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.datasets import load_wine
from torch.utils.data import TensorDataset

import polyrank
from polyrank.errors import DataError, RunFolderError, SettingsError
from tests.whole_runs import contents

WINE = load_wine(as_frame=True).frame
SITES = np.array(["north", "south", "west"])[np.arange(len(WINE)) % 3]
SETTINGS = {
    "name": "wine",
    "rounds": 2,
    "data": {"target": "target"},
    "model": {"kind": "mlp", "hidden": [8]},
    "ranks": {"r_min": 1, "r_max": 4},
    "training": {"epochs": 1, "batch_size": 8, "learning_rate": 0.02},
}
FRAMES = {site: WINE[site == SITES] for site in ("north", "south", "west")}


@pytest.fixture(scope="module")
def result(tmp_path_factory):
    return polyrank.run(SETTINGS, data=FRAMES, out=tmp_path_factory.mktemp("runs") / "wine")


def test_the_frames_hold_what_the_files_hold(result):
    rounds, clients, ranks = result.rounds, result.clients, result.ranks
    assert rounds.index.tolist() == [0, 1, 2]
    assert rounds["test_accuracy"].iloc[-1] == result.summary["accuracy"]["final"]
    assert rounds["bytes_up"].sum() == result.summary["bytes"]["up"]
    assert clients.index.tolist() == ["north", "south", "west"]
    worst = clients["global_accuracy"].min()
    assert worst == result.summary["worst_client"]["final"]
    assert ranks.loc["north"].to_dict() == result.summary["ranks"]["north"]
    assert clients["mean_rank"].to_dict() == ranks.mean(axis=1).to_dict()
    assert clients["reason"].str.len().min() > 0


def test_the_figure_has_the_accuracies_by_round(result):
    figure = result.plot()
    assert figure._repr_png_().startswith(b"\x89PNG")  # by which notebooks show it
    (axes,) = figure.axes
    lines = {line.get_label(): line.get_ydata() for line in axes.lines}
    assert lines["test"].tolist() == result.rounds["test_accuracy"].tolist()
    assert lines["validation"].tolist() == result.rounds["validation_accuracy"].tolist()


def test_the_card_is_small_and_names_are_texts(result):
    card = result._repr_html_()
    assert len(card) < 2000
    assert f"<td>{result.summary['accuracy']['final']:.4g}</td>" in card
    marked = type(result)(result.folder, {**result.summary, "name": "<b>x</b>"})
    assert "<b>" not in marked._repr_html_()


def test_it_evaluates_and_exports(result, tmp_path):
    assert result.evaluate()["accuracy"] == result.summary["accuracy"]["final"]
    assert result.evaluate()["rows"] == round(0.2 * len(WINE))
    assert result.evaluate(WINE)["rows"] == len(WINE)
    assert result.evaluate(client="south")["rows"] == result.evaluate()["rows"]
    whole = polyrank.load_base(result.export(tmp_path / "whole", merge=True))
    x = torch.tensor(WINE.drop(columns="target").to_numpy(), dtype=torch.float32)
    right = whole(x).argmax(1).numpy() == WINE["target"].to_numpy()
    assert right.mean() == pytest.approx(result.evaluate(WINE)["accuracy"])


def test_an_export_is_overwritten_only_if_that_is_asked_for(result, tmp_path):
    out = result.export(tmp_path / "out", merge=True)
    with pytest.raises(RunFolderError, match="choose another folder"):
        result.export(out)
    assert result.export(out, overwrite=True) == out
    assert (out / "adapter_config.json").exists()
    assert not (out / "model.safetensors").exists()
    (out / "notes.txt").write_text("mine")
    with pytest.raises(RunFolderError, match=r"nothing else to overwrite, got also 'notes.txt'"):
        result.export(out, overwrite=True)
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "a.txt").write_text("mine")
    with pytest.raises(RunFolderError, match="expected an earlier export to overwrite"):
        result.export(tmp_path / "notes", overwrite=True)
    assert (out / "notes.txt").exists()
    assert (tmp_path / "notes" / "a.txt").exists()


def test_data_that_were_handed_over_are_not_kept_and_asked_for_again(result, tmp_path):
    short = {**SETTINGS, "rounds": 1}
    folder = polyrank.run(short, data=FRAMES, out=tmp_path / "run").folder
    with pytest.raises(DataError, match="hand them over again"):
        polyrank.resume(folder, overrides=["rounds=2"])
    with pytest.raises(DataError, match="hand them over again"):
        polyrank.evaluate(folder)
    other = {site: frame.iloc[::-1] for site, frame in FRAMES.items()}
    with pytest.raises(RunFolderError, match="data"):
        polyrank.resume(folder, data=other, overrides=["rounds=2"])
    resumed = polyrank.resume(folder, data=FRAMES, overrides=["rounds=2"])
    assert contents(resumed.folder) == contents(result.folder)
    assert polyrank.evaluate(folder, own=FRAMES) == result.evaluate()
    wine = tmp_path / "wine.csv"
    WINE.to_csv(wine, index=False)
    assert polyrank.evaluate(folder, str(wine))["rows"] == len(WINE)


def test_a_data_set_of_pytorch_is_split_as_the_settings_say(tmp_path):
    images = torch.rand(60, 1, 8, 8)
    labels = (images.mean((1, 2, 3)) > 0.5).long()
    settings = {
        **{k: v for k, v in SETTINGS.items() if k != "data"},
        "rounds": 1,
        "partition": {"kind": "iid", "clients": 2},
        "model": "cnn",
    }
    made = polyrank.run(settings, data=TensorDataset(images, labels), out=tmp_path / "run")
    assert made.clients.index.tolist() == ["0", "1"]


def test_a_run_is_overwritten_only_if_that_is_asked_for(result, tmp_path):
    out = tmp_path / "run"
    settings = {**SETTINGS, "rounds": 1}
    first = polyrank.run(settings, data=FRAMES, out=out)
    with pytest.raises(RunFolderError, match="choose another, or resume the run"):
        polyrank.run(settings, data=FRAMES, out=out)
    again = polyrank.run({**settings, "seed": 1}, data=FRAMES, out=out, overwrite=True)
    assert again.folder == first.folder
    assert again.summary["seed"] == 1
    (out / "notes.txt").write_text("mine")
    with pytest.raises(RunFolderError, match=r"nothing else to overwrite, got \['notes.txt'\]"):
        polyrank.run(settings, data=FRAMES, out=out, overwrite=True)
    own = tmp_path / "own"
    own.mkdir()
    (own / "config.toml").write_text("rounds = 1")
    with pytest.raises(RunFolderError, match="got no run"):
        polyrank.run(settings, data=FRAMES, out=own, overwrite=True)
    assert (own / "config.toml").read_text() == "rounds = 1"


def test_two_sources_of_data_are_one_too_many(tmp_path):
    for data in ("digits", {"source": "digits", "target": "target"}):
        with pytest.raises(SettingsError, match=r"data.source = 'digits' in the settings"):
            polyrank.run({**SETTINGS, "data": data}, data=FRAMES, out=tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_settings_from_a_file_take_data_as_well(tmp_path):
    lines = ["rounds = 1", "[data]", 'target = "target"', "[model]", 'kind = "mlp"', "hidden = [8]"]
    (tmp_path / "wine.toml").write_text("\n".join(lines))
    made = polyrank.run(
        tmp_path / "wine.toml",
        data=FRAMES,
        overrides=["partition=natural"],
        out=tmp_path / "run",
    )
    assert made.ranks.index.tolist() == ["north", "south", "west"]


def test_ranks_are_planned_from_a_data_frame():
    clients = pd.DataFrame(
        {"client": ["a", "b", "c"], "rows": [10, 400, 200], "max_rank": [None, 8, None]}
    )
    planned = polyrank.plan(clients, r_min=2, r_max=16)
    ranks = planned.frame["rank"].to_dict()
    assert ranks["a"] < ranks["c"]
    assert ranks["b"] == 8
    assert polyrank.plan(clients.set_index("client"), r_min=2, r_max=16).rows
    assert "<td>b</td>" in planned._repr_html_()
    clients.loc[1, "rows"] = np.nan
    with pytest.raises(DataError, match="data frame, line 3, column 'rows': expected a finite"):
        polyrank.plan(clients, r_min=2, r_max=16)
