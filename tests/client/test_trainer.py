"""What a client measures and trains on: its training rows alone."""

import math

import pytest
import torch

from polyrank.client.site import Site
from polyrank.client.trainer import Trainer
from polyrank.inputs.arrays import RowView
from polyrank.lora.factors import prefix, start_factors
from polyrank.protocol.messages import Download, ProbeTask, TaskId, Wanted
from polyrank.runs.preparation import prepare
from tests.small import small

CRITERIA = ("label_count", "sample_count", "label_entropy", "gini_simpson")


def test_criteria_are_those_of_the_training_rows_alone(tmp_path):
    """Three rows of one label and one of another to train on; the test rows hold a third label."""
    ready = prepare(small(), tmp_path / "clients")
    labels = ready.server.rows["validation"].examples.labels
    one, other, third = (torch.nonzero(labels == label).flatten() for label in (0, 1, 2))
    rows = torch.cat([one[:3], other[:1]]), torch.cat([third[:5], other[1:4]])
    train, test = (RowView(ready.sites["0"].train.examples, part) for part in rows)
    trainer = Trainer(ready.server.blueprint, {"0": Site(train, test, secret=0)}, None)
    adapter = {
        n: start_factors((s.d_in, s.d_out), 1, 0, n).take(prefix(1))
        for n, s in ready.server.shapes.items()
    }
    task = ProbeTask(
        TaskId("t", 0, "0"), Download(adapter, ready.server.extras), 1.0, Wanted(CRITERIA)
    )
    found = trainer.perform(task).criteria
    entropy = -0.75 * math.log(0.75) - 0.25 * math.log(0.25)
    expected = (2, 4, entropy, 1 - 0.75**2 - 0.25**2)
    assert found == pytest.approx(dict(zip(CRITERIA, expected, strict=True)))
