"""Metrics of a classifier, from its confusion counts, and of a language model."""

from collections.abc import Iterable

import torch
from torch import Tensor

from polyrank.judging import perplexity
from polyrank.protocol.messages import Counted


def classification_metrics(confusion: Tensor, loss: float) -> dict[str, float]:
    """Compute accuracy, mean loss, macro-F1 and balanced accuracy.

    Labels without a row and without an answer do not count in macro-F1; labels without a
    row do not count in balanced accuracy: both as scikit-learn does.

    Args:
        confusion: (classes, classes) counts, rows by true label, columns by answer.
        loss: sum of the losses over the rows.
    """
    counts = confusion.double()
    right, rows, answers = counts.diag(), counts.sum(1), counts.sum(0)
    present, seen = rows > 0, rows + answers > 0
    f1 = 2 * right[seen] / (rows + answers)[seen]
    total = float(rows.sum())
    return {
        "accuracy": float(right.sum()) / total,
        "loss": loss / total,
        "macro_f1": float(f1.mean()),
        "balanced_accuracy": float((right[present] / rows[present]).mean()),
    }


def token_metrics(counts: Tensor, loss: float) -> dict[str, float]:
    """Compute perplexity, exp(loss), the mean loss in nats, and the accuracy of single tokens.

    Args:
        counts: (2,) tokens predicted rightly, and all that were to be predicted.
        loss: sum of the losses over these tokens.
    """
    right, tokens = counts.tolist()
    mean = loss / tokens
    return {"perplexity": perplexity(mean), "loss": mean, "accuracy": right / tokens}


def metrics_of(counts: Tensor, loss: float) -> dict[str, float]:
    """Compute the metrics of a classifier's confusion counts, or of a language model's (2,).

    Of a classifier's ``right_and_all`` (1, 2) there are accuracy and loss alone.
    """
    if counts.dim() == 1:
        return token_metrics(counts, loss)
    if counts.shape == (1, 2):
        right, rows = counts[0].tolist()
        return {"accuracy": right / rows, "loss": loss / rows}
    return classification_metrics(counts, loss)


def pooled_metrics(blocks: Iterable[Counted]) -> dict[str, float] | None:
    """Sum blocks of counts and compute their metrics; None if there are no rows."""
    counted = list(blocks)
    if not counted:
        return None
    confusion = torch.stack([block.confusion for block in counted]).sum(0)
    return metrics_of(confusion, sum(block.loss for block in counted))
