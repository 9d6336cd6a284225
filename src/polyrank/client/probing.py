"""The probe: a short training, as long on every client, before criteria that read losses.

Two passes over a client's rows are many steps on a large client and few on a small one, and
after few steps every loss is still high: losses then tell how large a client is. So all take
the same number of steps of the same number of rows, and the loss is plain cross-entropy
whatever the run trains with.
"""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from polyrank.errors import TrainingError
from polyrank.inputs.arrays import ExampleSet
from polyrank.inputs.losses import means_by_row, predictions, targets
from polyrank.learning.forward import answers, casting
from polyrank.settings.training import TrainingSettings

PARTS = 2  # of the loss curve: with more, clients differ less and it is as repeatable


def probe_training(training: TrainingSettings) -> TrainingSettings:
    """Return the run's optimiser and batches with plain cross-entropy and no pull to the start."""
    return training.model_copy(update={"local_loss": "cross_entropy", "prox_mu": 0.0})


def probe_batches(
    rows: int, steps: int, batch_size: int, generator: torch.Generator
) -> list[Sequence[Tensor]]:
    """Cut the probe's steps into ``PARTS`` parts of whole batches of places in ``rows``.

    All rows come once, in fresh random order, before one comes again. If the steps do not
    divide evenly, earlier parts have one more.

    Raises:
        TrainingError: there are no rows.
    """
    if not rows:
        raise TrainingError("a probe needs rows to train on, got none")
    needed = steps * batch_size
    passes = -(-needed // rows)
    order = torch.cat([torch.randperm(rows, generator=generator) for _ in range(passes)])
    batches = order[:needed].split(batch_size)
    cuts = np.array_split(np.arange(steps), PARTS)
    return [batches[cut[0] : cut[-1] + 1] for cut in cuts]


def losses_of(
    model: nn.Module, examples: ExampleSet, rows: Tensor, device: torch.device, autocast: str
) -> tuple[np.ndarray, np.ndarray | None]:
    """Return the loss of each of some rows (n,), in any order, in evaluation mode.

    In language modelling also the loss of each token that is predicted, (m,); else None.
    """
    model.eval()
    by_row, by_token = [], []
    with torch.inference_mode():
        for places in examples.blocks(rows):
            inputs, labels = examples.batch(places)
            with casting(autocast, device):
                logits = predictions(answers(model, inputs, device), labels.to(device))
            wanted = targets(labels)
            each = functional.cross_entropy(logits.cpu(), wanted, reduction="none")
            by_row.append(means_by_row(each, labels))
            if labels.dim() == 2:
                by_token.append(each)
    tokens = torch.cat(by_token).double().numpy() if by_token else None
    return torch.cat(by_row).double().numpy(), tokens
