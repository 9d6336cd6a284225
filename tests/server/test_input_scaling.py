"""A table is scaled by sums over clients, and the scaling goes wherever the model goes."""

import json

import numpy as np
import pandas as pd
import pytest
import torch
from peft import PeftModel

import polyrank
from polyrank.aggregators import AGGREGATORS
from polyrank.aggregators.aggregator import ServerModel
from polyrank.disk.checkpoint import load_tensors
from polyrank.errors import SettingsError, TrainingError
from polyrank.inputs.column_sums import ColumnSums
from polyrank.models.input_scaling import DEVIATION, MEAN
from polyrank.protocol.messages import (
    Download,
    Measured,
    ProbeTask,
    TaskId,
    TrainTask,
    Update,
    Wanted,
)
from polyrank.protocol.wire import pack, unpack
from polyrank.runs.preparation import prepare
from polyrank.runs.trained_model import read_trained
from polyrank.server.guards import probe_refusal
from polyrank.server.input_scaling import learnt_scaling
from polyrank.server.intake import Intake
from polyrank.server.state import ServerState
from tests.small import small
from tests.whole_runs import contents

ROWS = 240


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    """A table whose label shows in a number far from 0 and in a category."""
    rng = np.random.default_rng(0)
    sick = rng.random(ROWS) < 0.4
    rows = pd.DataFrame(
        {
            "weight": 7e4 + 300 * sick + rng.normal(0, 100, ROWS),
            "age": rng.integers(20, 80, ROWS).astype(float),
            "ward": np.where(rng.random(ROWS) < 0.8, np.where(sick, "x", "y"), "z"),
            "site": np.array(["north", "south", "west"])[rng.integers(0, 3, ROWS)],
            "sick": np.where(sick, "yes", "no"),
        }
    )
    rows.loc[rng.random(ROWS) < 0.1, "age"] = np.nan
    found = tmp_path_factory.mktemp("table") / "t.csv"
    rows.to_csv(found, index=False)
    return str(found)


def settings(path, *, scale=True, **changes):
    data = {"source": path, "target": "sick", "group": "site", "scale": scale}
    return small(data=data, partition="natural", **changes)


@pytest.fixture(scope="module")
def run(path, tmp_path_factory):
    return polyrank.run(settings(path), out=tmp_path_factory.mktemp("runs") / "run").folder


def test_numbers_are_scaled_by_the_training_rows_of_the_clients_alone(path, run):
    prepared = prepare(settings(path), None)
    rows = torch.cat([site.train.numbers for site in prepared.sites.values()])
    assert len(rows) < 0.7 * ROWS
    examples = next(iter(prepared.sites.values())).train.examples
    x = examples.inputs[rows].double().numpy()[:, [0, 1]]
    extras = read_trained(run, None).extras
    assert prepared.server.columns.names[:3] == ("weight", "age", "age is missing")
    np.testing.assert_allclose(extras[MEAN][:2], np.nanmean(x, axis=0), rtol=1e-6)
    np.testing.assert_allclose(extras[DEVIATION][:2], np.nanstd(x, axis=0), rtol=1e-5)
    assert extras[MEAN][2:].tolist() == [0.0] * 4
    assert extras[DEVIATION][2:].tolist() == [1.0] * 4


def test_without_scaling_the_same_model_learns_nothing(path, run, tmp_path):
    assert polyrank.evaluate(run)["accuracy"] > 0.9
    unscaled = polyrank.run(settings(path, scale=False), out=tmp_path / "run")
    assert unscaled.summary["accuracy"]["final"] < 0.7


def test_the_bits_are_the_same_with_workers_and_after_a_resume(path, run, tmp_path):
    polyrank.run(settings(path, workers=2, rounds=1), out=tmp_path / "run")
    resumed = polyrank.resume(tmp_path / "run", overrides=["rounds=3", "workers=1"])
    but = ("config.toml",)  # it says how many workers
    assert contents(resumed.folder, but) == contents(run, but)


def test_an_export_scales_what_it_is_given(run, tmp_path):
    polyrank.export(run, tmp_path / "lora")
    polyrank.export(run, tmp_path / "whole", merge=True)
    about = json.loads((tmp_path / "lora" / "base.json").read_text())
    assert about["columns"][0] == "weight"
    base = polyrank.load_base(tmp_path / "lora")
    loaded = PeftModel.from_pretrained(base, tmp_path / "lora").eval()
    x = torch.tensor([[70300.0, torch.nan, 1, 1, 0, 0], [70000.0, 40, 0, 0, 1, 0]])
    logits = read_trained(run, None).bridge().model(x)
    torch.testing.assert_close(loaded(x), logits)
    torch.testing.assert_close(polyrank.load_base(tmp_path / "whole")(x), logits)
    assert logits.argmax(1).tolist() == [1, 0]


def test_other_rows_are_put_in_the_columns_that_the_model_knows(run, path, tmp_path):
    rows = pd.read_csv(path)
    alone = rows[(rows["ward"] != "z") & rows["age"].notna()]
    alone[["ward", "site", "sick", "age", "weight"]].to_csv(tmp_path / "new.csv", index=False)
    found = polyrank.evaluate(run, str(tmp_path / "new.csv"))
    assert found["rows"] == len(alone)
    assert found["accuracy"] > 0.9


def test_a_base_that_scales_already_is_not_asked_about(path, run, tmp_path):
    polyrank.export(run, tmp_path / "whole", merge=True)
    base = str(tmp_path / "whole" / "model.safetensors")
    again = polyrank.run(settings(path, base=base, rounds=1), out=tmp_path / "run").folder
    assert not (again / "checkpoint" / "scaling.safetensors").exists()
    assert torch.equal(read_trained(again, None).extras[MEAN], read_trained(run, None).extras[MEAN])


def test_a_pre_trained_base_is_scaled_by_the_public_rows(path, tmp_path):
    public = settings(path, pretrain={"share": 0.3, "epochs": 2}, rounds=1)
    folder = polyrank.run(public, out=tmp_path / "run").folder
    kept = load_tensors(folder / "checkpoint" / "base.safetensors")[0]
    assert kept[MEAN][0] == pytest.approx(7e4, rel=0.01)
    assert not (folder / "checkpoint" / "scaling.safetensors").exists()


def test_with_noise_on_counts_no_sum_leaves_a_client(path, tmp_path):
    private = {"probe": {"epsilon": 1.0}, "criteria": ["label_entropy"], "rounds": 1}
    with pytest.raises(SettingsError, match=r"data\.scale: sums of columns would leave"):
        polyrank.run(settings(path, **private), out=tmp_path / "run")
    polyrank.run(settings(path, scale=False, **private), out=tmp_path / "unscaled")
    polyrank.run(settings(path, pretrain={"share": 0.2}, **private), out=tmp_path / "public")


SUMS = ColumnSums(torch.tensor([3]), torch.tensor([6.0]).double(), torch.tensor([14.0]).double())
TASK = ProbeTask(TaskId("r", 0, "c"), Download({}, {}), 1.0, Wanted(columns=(4,)))


def refused(**changes):
    answer = Measured(TASK.id, {}, 0, features={**SUMS.tensors, **changes})
    return probe_refusal(answer, TASK, [], None)


def test_sums_travel_and_are_judged():
    assert unpack(pack(TASK)) == TASK
    good = Measured(TASK.id, {}, 0, features=SUMS.tensors)
    assert unpack(pack(good)).features.keys() == SUMS.tensors.keys()
    assert (good.nbytes, refused()) == (24, None)
    assert "expected numbers from 0 up" in refused(counts=torch.tensor([-1]))
    assert "expected numbers from 0 up" in refused(counts=torch.tensor([2**60]))
    assert "larger than their squares allow" in refused(sums=torch.tensor([7.0]).double())
    assert "NaN or infinite" in refused(squares=torch.tensor([torch.inf]).double())
    assert "expected (1,)" in refused(sums=torch.tensor([1.0, 2.0]).double())
    without = Measured(TASK.id, {}, 0)
    assert "expected ['counts', 'squares', 'sums']" in probe_refusal(without, TASK, [], None)


def test_a_client_cannot_change_the_scaling_nor_hide_behind_it():
    sent = {MEAN: torch.tensor([7e4]), "fc.bias": torch.tensor([0.1])}

    def refused(**extras):
        intake = Intake(AGGREGATORS.build("rbla").fold, ServerModel({}, sent), bound=10.0)
        for client, changed in (("a", {}), ("b", {}), ("c", extras)):
            task = TrainTask(TaskId("r", 1, client), Download({}, sent), 1.0)
            answer = Update(task.id, {}, {**sent, **changed}, examples=5.0, loss=1.0)
            intake.take(task, answer, {}, 9.0)
        return intake.finish().turns[-1].refused

    assert refused() is None
    assert "expected what was sent" in refused(**{MEAN: torch.tensor([6e4])})
    assert "norm_bound allows 10 times" in refused(**{"fc.bias": torch.tensor([50.0])})


def test_sums_that_give_no_scaling_are_an_error():
    class Asked:
        """Stands for clients that lie within what the guards allow."""

        def measured(self, *_):
            huge = ColumnSums(*(torch.tensor([v]).double() for v in (1.0, 1e60, 1e120)))
            yield Measured(TASK.id, {}, 0, features=huge.tensors)

    state = ServerState(ServerModel({}, {MEAN: torch.zeros(1)}), {})
    with pytest.raises(TrainingError, match="the sums of columns over clients give no finite"):
        learnt_scaling(Asked(), state, (0,))
