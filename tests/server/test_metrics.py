import numpy as np
import pytest
import torch
from sklearn import metrics as reference

from polyrank.protocol.counts import Confusion
from polyrank.protocol.messages import Counted, TaskId
from polyrank.server.metrics import classification_metrics, pooled_metrics


@pytest.mark.parametrize("seed", range(5))
def test_metrics_are_scikit_learn_s(seed):
    """Also where a label has no row, or no answer."""
    rng = np.random.default_rng(seed)
    truth = rng.integers(0, 5, 60) % (5 - seed % 2)
    answers = rng.integers(0, 6, 60)
    confusion = torch.from_numpy(reference.confusion_matrix(truth, answers, labels=range(7)))
    ours = classification_metrics(confusion, 30.0)
    assert ours["loss"] == 0.5
    assert ours["accuracy"] == pytest.approx(reference.accuracy_score(truth, answers))
    assert ours["macro_f1"] == pytest.approx(reference.f1_score(truth, answers, average="macro"))
    recalls = [np.mean(answers[truth == label] == label) for label in np.unique(truth)]
    assert ours["balanced_accuracy"] == pytest.approx(np.mean(recalls))


def test_blocks_of_rows_have_the_metrics_of_all_rows():
    blocks = [torch.tensor([[3, 1], [0, 2]]), torch.tensor([[1, 0], [4, 0]])]
    counted = [
        Counted(TaskId("r", 1, ""), Confusion(b), loss)
        for b, loss in zip(blocks, (2.0, 9.0), strict=True)
    ]
    assert pooled_metrics(counted) == classification_metrics(sum(blocks), 11.0)
    assert pooled_metrics([]) is None
