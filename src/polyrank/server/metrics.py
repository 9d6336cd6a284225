"""Metrics of a classifier, from its confusion counts, and of a language model."""

from collections.abc import Iterable
from functools import reduce
from operator import add

from torch import Tensor

from polyrank.judging import perplexity
from polyrank.protocol.counts import Confusion, Correct, CorrectTokens, Counts
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


def token_metrics(counts: CorrectTokens, loss: float) -> dict[str, float]:
    """Compute perplexity, exp(loss), the mean loss in nats, and the accuracy of single tokens.

    Args:
        counts: of the tokens that were to be predicted.
        loss: sum of the losses over these tokens.
    """
    mean = loss / counts.all
    return {"perplexity": perplexity(mean), "loss": mean, "accuracy": counts.right / counts.all}


def metrics_of(counts: Counts, loss: float) -> dict[str, float]:
    """Compute the metrics of counted answers; accuracy and loss alone of ``Correct``."""
    match counts:
        case Confusion():
            return classification_metrics(counts.counts, loss)
        case Correct():
            return {"accuracy": counts.right / counts.all, "loss": loss / counts.all}
        case CorrectTokens():
            return token_metrics(counts, loss)


def pooled_metrics(blocks: Iterable[Counted]) -> dict[str, float] | None:
    """Add up counts of one kind and compute their metrics; None if there are no rows."""
    counted = list(blocks)
    if not counted:
        return None
    counts = reduce(add, (block.counts for block in counted))
    return metrics_of(counts, sum(block.loss for block in counted))
