"""Everything that leaves a client is made here, and nothing else leaves it.

What is to be done to an update on its way out has its place in ``update_from``; what is to be
hidden of the data, in the other functions.
"""

from dataclasses import replace

import numpy as np

from polyrank.client.site import Site
from polyrank.criteria import ClientView, measure, noisy_counts, noisy_view
from polyrank.learning.training import Outcome
from polyrank.lora.factors import Adapter, Parts, Tensors
from polyrank.protocol.counts import Confusion, Counts
from polyrank.protocol.messages import Counted, Measured, Profile, TaskId, Update, Wanted


def profile_from(id: TaskId, site: Site, classes: int, epsilon: float | None) -> Profile:
    """Tell what the client agrees to tell; label counts with noise where ``epsilon`` asks for it.

    Args:
        id: of the task.
        site: the client's own side.
        classes: number of labels.
        epsilon: of the noise, or None.
    """
    told = Profile(id)
    if "examples" in site.tells:
        told = Profile(id, len(site.train), len(site.test))
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
    outcome: Outcome,
    spectra: dict[str, list[float]],
) -> Measured:
    """Tell the criteria of a client's data, computed after the noise where that is asked for."""
    if epsilon is not None:
        view = noisy_view(view, epsilon, site.noise())
    criteria = measure(wanted.criteria, view)
    return Measured(id, criteria, outcome.steps, outcome.seconds, spectra)


def sums_from(id: TaskId, features: Tensors) -> Measured:
    """Send the sums of features that the head is made from."""
    return Measured(id, {}, 0, features=features)


def update_from(
    id: TaskId,
    adapter: Adapter,
    extras: Tensors,
    sends: Parts,
    examples: int,
    outcome: Outcome,
    observed: Tensors,
) -> Update:
    """Send what training left of the factors that the method sends, and the extras.

    Args:
        id: of the task.
        adapter: the trained slots of every module.
        extras: the trained tensors that are not LoRA.
        sends: the factors that go to the server.
        examples: number of training examples.
        outcome: of the training.
        observed: module -> (r,) what the allocator's observer says of each slot.
    """
    return Update(
        id,
        {module: factors.only(sends) for module, factors in adapter.items()},
        extras,
        examples=examples,
        loss=outcome.epoch_losses[-1],
        steps=outcome.steps,
        seconds=outcome.seconds,
        observed=observed,
    )


def counted_from(id: TaskId, counts: Counts, loss: float, epsilon: float | None) -> Counted:
    """Tell how well a model answered; not by label where the label counts are private."""
    if epsilon is not None and isinstance(counts, Confusion):
        counts = counts.correct  # the rows of the confusion are the label counts
    return Counted(id, counts, loss)


def label_counts(site: Site, classes: int) -> np.ndarray:
    """Count a client's training rows of each label (classes,); it does not leave it so."""
    counts: np.ndarray = np.bincount(site.train.labels.numpy(), minlength=classes)
    return counts
