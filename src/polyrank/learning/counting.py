"""Count how well one model answers on some rows."""

import torch
from torch import Tensor, nn
from torch.nn import functional

from polyrank.inputs.arrays import ExampleSet
from polyrank.inputs.losses import predictions, targets
from polyrank.learning.forward import answers, casting
from polyrank.protocol.counts import Confusion, CorrectTokens


def count_answers(
    model: nn.Module,
    examples: ExampleSet,
    rows: Tensor,
    classes: int,
    device: torch.device,
    autocast: str = "none",
) -> tuple[Confusion | CorrectTokens, float]:
    """Count a model's answers on some rows, in evaluation mode.

    Returns:
        the counts, of tokens where it is a language model; and the sum of the losses.
    """
    model.eval()
    confusion = torch.zeros(classes * classes, dtype=torch.int64)
    right_tokens = all_tokens = 0
    total = 0.0
    with torch.inference_mode():
        for places in examples.blocks(rows):
            inputs, labels = examples.batch(places)
            labels = labels.to(device)
            with casting(autocast, device):
                logits = answers(model, inputs, device)
            logits, wanted = predictions(logits, labels), targets(labels)
            total += float(functional.cross_entropy(logits, wanted, reduction="sum"))
            if labels.dim() == 2:
                right_tokens += int((logits.argmax(dim=1) == wanted).sum())
                all_tokens += len(wanted)
                continue
            pairs = labels * classes + logits.argmax(dim=1)
            confusion += torch.bincount(pairs.cpu(), minlength=classes * classes)
    if all_tokens:
        return CorrectTokens(right_tokens, all_tokens), total
    return Confusion(confusion.reshape(classes, classes)), total
