"""The loss of a local training: cross-entropy, plain or calibrated for skewed labels.

Menon et al., "Long-tail learning via logit adjustment", ICLR 2021,
https://arxiv.org/abs/2007.07314: the loss of eq. 10 with tau = 1. Zhang et al., "Federated
Learning with Label Distribution Skew via Logits Calibration", ICML 2022,
https://arxiv.org/abs/2209.00189, calibrates each client's logits by its own label counts;
its margin is n_y^(-1/4), ours is the log of the share, as in the first paper.
"""

import torch
from torch import Tensor
from torch.nn import functional

NO_TARGET = -100  # what torch's cross-entropy leaves out


def log_shares(labels: Tensor) -> Tensor:
    """Return the log of each label's share, (largest label + 1,); -inf for absent labels."""
    counts = torch.bincount(labels).double()
    return (counts / counts.sum()).log().float()


def calibrated(logits: Tensor, prior: Tensor) -> Tensor:
    """Add the log of the label shares to the logits (n, classes).

    Minimising cross-entropy of the sum makes the bare logits those of balanced labels. A label
    that the client does not have gets minus infinity: it has no part in the loss, so its
    logit is not pushed down by a client that knows nothing of it.

    Args:
        logits: (n, classes).
        prior: (k,) from ``log_shares``, k at most classes; labels beyond are absent too.
    """
    absent = logits.shape[1] - len(prior)
    return logits + functional.pad(prior.to(logits), (0, absent), value=-torch.inf)


def targets(labels: Tensor) -> Tensor:
    """Return what is to be predicted, (m,): labels (n,), or tokens (n, length) but the first.

    The tokens of a text are predicted each from those before it; -100 marks those that are
    not to be predicted.
    """
    if labels.dim() == 1:
        return labels
    following = labels[:, 1:]
    return following[following != NO_TARGET]


def predictions(logits: Tensor, labels: Tensor) -> Tensor:
    """Return the logits (m, classes) that stand for ``targets(labels)``, in their order."""
    if labels.dim() == 1:
        return logits
    return logits[:, :-1][labels[:, 1:] != NO_TARGET]


def means_by_row(losses: Tensor, labels: Tensor) -> Tensor:
    """Return the mean loss of each example, (n,), from the losses (m,) of its targets."""
    if labels.dim() == 1:
        return losses
    wanted = labels[:, 1:] != NO_TARGET
    spread = torch.zeros(wanted.shape, dtype=losses.dtype, device=losses.device)
    spread[wanted] = losses
    return spread.sum(1) / wanted.sum(1)
