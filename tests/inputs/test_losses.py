import copy
import math

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

from polyrank.inputs.arrays import Examples
from polyrank.inputs.losses import calibrated, log_shares, means_by_row, predictions, targets
from polyrank.learning.training import fit
from polyrank.settings.training import TrainingSettings


def test_calibrated_loss_by_hand():
    """Labels 0, 0, 0, 1: shares 3/4 and 1/4. Logits 0, 0 for label 1: -ln(1/4) = ln 4."""
    prior = log_shares(torch.tensor([0, 1, 0, 0]))
    assert prior.exp().tolist() == [0.75, 0.25]
    loss = functional.cross_entropy(calibrated(torch.zeros(1, 2), prior), torch.tensor([1]))
    assert float(loss) == pytest.approx(math.log(4))


def test_even_labels_leave_the_loss_as_it_is():
    logits = torch.randn(6, 3, generator=torch.Generator().manual_seed(0))
    labels = torch.tensor([0, 1, 2, 0, 1, 2])
    plain = functional.cross_entropy(logits, labels)
    ours = functional.cross_entropy(calibrated(logits, log_shares(labels)), labels)
    torch.testing.assert_close(ours, plain)


def one_epoch(loss: str, labels: torch.Tensor) -> tuple[nn.Linear, nn.Linear]:
    generator = torch.Generator().manual_seed(0)
    torch.manual_seed(1)
    model = nn.Linear(5, 4)
    before = copy.deepcopy(model)
    examples = Examples(torch.randn(len(labels), 5, generator=generator), labels)
    settings = TrainingSettings(optimizer="sgd", epochs=3, batch_size=4, local_loss=loss)
    rows = torch.arange(len(labels))
    fit(model, list(model.parameters()), examples, rows, settings, 0.5, generator)
    return before, model


@pytest.mark.parametrize("absent", [0, 3])
def test_what_answers_an_absent_label_is_left_alone(absent):
    labels = torch.tensor([n for n in (0, 1, 2, 3, 1, 2, 2) if n != absent])
    before, after = one_epoch("calibrated", labels)
    assert torch.equal(after.weight[absent], before.weight[absent])
    assert torch.equal(after.bias[absent], before.bias[absent])
    assert torch.isfinite(after.weight).all()
    assert not torch.equal(after.weight[1], before.weight[1])
    before, after = one_epoch("cross_entropy", labels)
    assert after.bias[absent] < before.bias[absent]


def test_the_shares_are_those_of_the_trained_rows_alone():
    """Rows 0..3 hold one label of each: the other rows, all of label 0, do not count."""
    inputs = torch.randn(20, 5, generator=torch.Generator().manual_seed(0))
    examples = Examples(inputs, torch.tensor([0, 1, 2, 3] + [0] * 16))
    trained = []
    for loss in ("cross_entropy", "calibrated"):
        torch.manual_seed(1)
        model = nn.Linear(5, 4)
        settings = TrainingSettings(optimizer="sgd", epochs=2, batch_size=4, local_loss=loss)
        generator = torch.Generator().manual_seed(2)
        rows = torch.arange(4)
        fit(model, list(model.parameters()), examples, rows, settings, 0.5, generator)
        trained.append(model.weight)
    torch.testing.assert_close(*trained)


def test_tokens_are_predicted_each_from_those_before():
    """The same as a loop over rows and places; -100 in place t + 1 leaves out place t."""
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(2, 4, 6, generator=generator)
    labels = torch.tensor([[-100, 2, 5, -100], [3, 1, -100, 4]])
    by_hand = [(0, 0, 2), (0, 1, 5), (1, 0, 1), (1, 2, 4)]
    wanted = [-float(logits[r, t].log_softmax(0)[token]) for r, t, token in by_hand]
    each = functional.cross_entropy(predictions(logits, labels), targets(labels), reduction="none")
    assert each.tolist() == pytest.approx(wanted, rel=1e-5)
    by_row = means_by_row(each, labels)
    expected = [np.mean(wanted[:2]), np.mean(wanted[2:])]
    assert by_row.tolist() == pytest.approx(expected, rel=1e-5)
