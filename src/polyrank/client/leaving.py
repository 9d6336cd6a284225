"""Build every message that leaves a client; nothing else leaves it.

What is to be done to an update on its way out has its place in ``client.outgoing``; what is to be
hidden of the data, in the functions here.
"""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from polyrank.client.outgoing import Outgoing
from polyrank.client.site import Site
from polyrank.criteria import ClientView, measure, noisy_counts, noisy_view
from polyrank.learning.training import Fitted
from polyrank.lora.factors import Tensors
from polyrank.protocol.counts import Confusion, Counts
from polyrank.protocol.messages import Counted, Measured, Profile, TaskId, Update, Wanted


def profile_from(id: TaskId, site: Site, classes: int, epsilon: float | None) -> Profile:
    """Build the profile that a client agrees to send, with noise on label counts if asked.

    Args:
        id: of the task.
        site: the client's own side.
        classes: number of labels.
        epsilon: of the noise, or None.
    """
    told = Profile(id, cap=site.cap)
    if "examples" in site.tells:
        told = Profile(id, len(site.train), len(site.test), cap=site.cap)
    if "label_counts" in site.tells:
        counts = label_counts(site, classes)
        if epsilon is not None:
            noisy = noisy_counts(counts.astype(np.float64), epsilon, site.noise())
            counts = noisy.round().astype(np.int64)
        told = replace(told, label_counts=counts.tolist())
    return told


def measured_from(
    id: TaskId,
    site: Site,
    view: ClientView,
    wanted: Wanted,
    epsilon: float | None,
    outcome: Fitted,
    spectra: dict[str, list[float]],
) -> Measured:
    """Build the answer to a measuring task; noise, if asked for, comes before any criterion."""
    if epsilon is not None:
        view = noisy_view(view, epsilon, site.noise())
    criteria = measure(wanted.criteria, view)
    return Measured(id, criteria, outcome.steps, outcome.seconds, spectra)


def sums_from(id: TaskId, features: Tensors) -> Measured:
    """Build the answer that holds sums over rows: of features for the head, or of columns."""
    return Measured(id, {}, 0, features=features)


def update_from(
    id: TaskId,
    leaves: Outgoing,
    examples: int,
    outcome: Fitted,
    observed: Tensors,
) -> Update:
    """Build the update: the trained extras, and those factors that the method sends.

    Args:
        id: of the task.
        leaves: what of the training is sent.
        examples: number of training examples.
        outcome: of the training.
        observed: module -> (r,) what the allocator's observer says of each slot.
    """
    return Update(
        id,
        leaves.sent.adapter,
        leaves.sent.extras,
        examples=examples,
        loss=outcome.epoch_losses[-1],
        steps=outcome.steps,
        seconds=outcome.seconds,
        observed=observed,
        shares=leaves.shares,
        scales=leaves.sent.scales,
    )


def counted_from(
    id: TaskId, counts: Counts, loss: float, epsilon: float | None, losses: Sequence[float] = ()
) -> Counted:
    """Build the answer to an evaluation; with losses of cut models alone, no counts by label.

    Nor are there any where these are private: the rows of the confusion are the label counts.
    """
    if (losses or epsilon is not None) and isinstance(counts, Confusion):
        counts = counts.correct
    return Counted(id, counts, loss, losses)


def label_counts(site: Site, classes: int) -> np.ndarray:
    """Count a client's training rows of each label (classes,)."""
    counts: np.ndarray = np.bincount(site.train.labels.numpy(), minlength=classes)
    return counts
