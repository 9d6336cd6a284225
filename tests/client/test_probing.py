"""The probe: as long on every client, and plain cross-entropy."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.nn import functional

import polyrank
from polyrank.client.probing import losses_of, probe_batches, probe_training
from polyrank.client.trainer import Trainer
from polyrank.criteria import reads_losses
from polyrank.errors import TrainingError
from polyrank.inputs.arrays import RowView
from polyrank.learning.counting import count_answers
from polyrank.lora.factors import prefix
from polyrank.protocol.messages import Download, Measured, ProbeTask, TaskId, Wanted
from polyrank.runs.preparation import first_adapter, prepare
from polyrank.settings.training import TrainingSettings
from tests.learning.test_training import problem
from tests.small import small


def probed(client, attempt=0, criterion="loss_entropy", **changes):
    """One client's criterion; "few" has 40 of the digits, "many" the same ones eight times."""
    settings = small(**changes)
    ready = prepare(settings, None)
    site, few = ready.sites["0"], torch.arange(40)
    sites = {
        name: replace(site, train=RowView(site.train.examples, rows))
        for name, rows in (("few", few), ("many", few.repeat(8)))
    }
    adapter = first_adapter(settings, ready.server.shapes)
    download = Download({m: f.take(prefix(6)) for m, f in adapter.items()}, ready.server.extras)
    task = ProbeTask(TaskId("run", 0, client, attempt), download, 3.0, Wanted((criterion,)))
    measured = Trainer(ready.server.blueprint, sites, None).perform(task)
    assert isinstance(measured, Measured), measured
    return measured.criteria[criterion], measured.steps


def test_loss_entropy_is_not_high_because_a_client_has_few_rows():
    """Two passes each gave 6 steps and 0.9986 to the one, 40 and 0.858 to the other: same data."""
    wide = {"model": {"kind": "mlp", "hidden": [64]}}
    (few, steps), (many, same) = (probed(client, **wide) for client in ("few", "many"))
    assert steps == same == 40
    assert few < many + 0.05
    longer, _ = probed("few", **wide, probe={"steps": 80})
    assert longer < few - 0.2


@pytest.mark.parametrize(
    "change",
    [
        {"training": {"local_loss": "calibrated"}},
        {"training": {"prox_mu": 100.0}},
        {"aggregator": {"kind": "hetlora", "penalty": 10.0}},
        {"training": {"epochs": 3, "steps": 2}},
    ],
    ids=str,
)
def test_the_probe_is_the_same_whatever_the_run_trains_with(change):
    ranks = {"ranks": {"r_min": 1, "r_max": 6}}
    assert probed("few", **ranks, **change) == probed("few", **ranks)


@pytest.mark.parametrize("spread", ["paper", "relative"])
def test_on_the_staircase_the_client_with_all_labels_gets_the_largest_rank(tmp_path, spread):
    """By two epochs of each client, loss entropy gave it 4 of 64 with this normalisation."""
    settings = small(
        data="digits",
        partition={"kind": "staircase", "clients": 10},
        model={"kind": "mlp", "hidden": [64]},
        criteria=["loss_entropy", "label_entropy", "gini_simpson", "label_count", "sample_count"],
        allocator={"kind": "autorank", "normalisation": "minmax", "spread": spread},
        ranks={"r_min": 4, "r_max": 64},
        training={"learning_rate": 0.002, "steps": 1},
        rounds=1,
    )
    ranks = polyrank.run(settings, out=tmp_path / "run").summary["ranks"]
    first = [of["fc1"] for of in ranks.values()]
    assert first[0] == 4
    assert first[9] == 64
    assert first == sorted(first)


def test_every_row_comes_once_before_one_comes_again():
    """7 rows, 5 steps of 4: 20 places, which are two whole passes and 6 of the third."""
    generator = torch.Generator().manual_seed(0)
    parts = probe_batches(7, 5, 4, generator)
    assert [len(part) for part in parts] == [3, 2]
    assert all(len(batch) == 4 for part in parts for batch in part)
    places = torch.cat([batch for part in parts for batch in part])
    first, second, third = places.split(7)
    assert sorted(first.tolist()) == sorted(second.tolist()) == list(range(7))
    assert first.tolist() != second.tolist()
    assert len(set(third.tolist())) == 6


def test_no_rows_are_an_error_of_their_own():
    with pytest.raises(TrainingError, match="needs rows to train on, got none"):
        probe_batches(0, 5, 4, torch.Generator())


def test_the_optimiser_stays_the_run_s():
    given = TrainingSettings(
        optimizer="sgd", momentum=0.5, batch_size=7, local_loss="calibrated", prox_mu=1.0
    )
    kept = {"optimizer": "sgd", "momentum": 0.5, "batch_size": 7}
    plain = {"local_loss": "cross_entropy", "prox_mu": 0.0}
    assert probe_training(given).model_dump() == {**given.model_dump(), **kept, **plain}


def test_losses_of_rows_are_those_of_the_model_in_evaluation_mode():
    model, examples = problem()
    model = torch.nn.Sequential(torch.nn.Dropout(0.5), model)
    rows, device = torch.tensor([3, 8, 8, 21]), torch.device("cpu")
    losses, tokens = losses_of(model, examples, rows, device, "none")
    inputs, labels = examples.batch(rows)
    expected = functional.cross_entropy(model.eval()(inputs), labels, reduction="none")
    assert tokens is None
    np.testing.assert_allclose(losses, expected.detach().numpy(), rtol=1e-6)
    assert losses.sum() == pytest.approx(count_answers(model, examples, rows, 3, device)[1])


def test_losses_over_examples_are_of_no_more_rows_than_the_probe_saw():
    """Two steps of 16 rows: 32 losses of 40 and of 320 rows; three steps: all of the 40."""
    pick = {"criterion": "tests.client.test_probing:rows_with_a_loss"}
    assert probed("few", probe={"steps": 2}, **pick)[0] == 32
    assert probed("many", probe={"steps": 2}, **pick)[0] == 32
    assert probed("few", probe={"steps": 3}, **pick)[0] == 40


@reads_losses
def rows_with_a_loss(view):
    return float(len(view.example_losses))
