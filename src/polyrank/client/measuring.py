"""What a client measures of its data before round 1, or when ranks are chosen again."""

import numpy as np
import torch

from polyrank.client.activations import activation_spectra
from polyrank.client.features import feature_sums
from polyrank.client.leaving import label_counts, measured_from, sums_from
from polyrank.client.loaded_model import LoadedModel
from polyrank.client.probing import losses_of, probe_batches, probe_training
from polyrank.client.site import Site
from polyrank.criteria import ClientView, needs_probe
from polyrank.inputs.column_sums import column_sums
from polyrank.learning.training import Fitted
from polyrank.protocol.messages import Measured, ProbeTask

SPECTRA_ROWS, SPECTRA_BATCH = 512, 64


def measure_client(model: LoadedModel, site: Site, task: ProbeTask) -> Measured:
    """Measure what the task asks for: criteria, spectra of inputs, or sums."""
    if task.wanted.columns:
        columns = torch.tensor(task.wanted.columns)
        sums = column_sums(site.train.examples, site.train.numbers, columns)
        return sums_from(task.id, sums.tensors)
    if task.wanted.head:
        return sums_from(task.id, _features(model, site, task))
    outcome, example_losses, token_losses = Fitted(), None, None
    if needs_probe(task.wanted.criteria):
        outcome, example_losses, token_losses = _trained_probe(model, site, task)
    tokens = site.train.examples.token_counts(site.train.numbers)
    view = ClientView(
        label_counts=label_counts(site, model.blueprint.classes).astype(np.float64),
        examples=float(len(site.train)),
        epoch_losses=np.array(outcome.epoch_losses) if outcome.epoch_losses else None,
        example_losses=example_losses,
        token_losses=token_losses,
        token_counts=None if tokens is None else tokens.numpy().astype(np.float64),
    )
    epsilon, spectra = model.settings.probe.epsilon, _spectra(model, site, task)
    return measured_from(task.id, site, view, task.wanted, epsilon, outcome, spectra)


def _trained_probe(
    model: LoadedModel, site: Site, task: ProbeTask
) -> tuple[Fitted, np.ndarray, np.ndarray | None]:
    """Train the probe; return its losses while it trained, and by row and token after.

    Those after are of as many rows as it was trained on, or of all if there are fewer.
    """
    settings, rows = model.settings, site.train
    training, steps = probe_training(settings.training), settings.probe.steps
    generator = torch.Generator().manual_seed(model.seed("probe", task.id))
    chosen = torch.randperm(len(rows), generator=generator)[: steps * training.batch_size]
    batches = probe_batches(len(rows), steps, training.batch_size, generator)
    outcome = model.fit(task, rows, training, batches)
    sample = rows.numbers[chosen]
    losses = losses_of(model.bridge.model, rows.examples, sample, model.device, training.autocast)
    return outcome, *losses


def _spectra(model: LoadedModel, site: Site, task: ProbeTask) -> dict[str, list[float]]:
    """Return explained-variance ratios of the inputs of each module, on a sample of the rows."""
    if not task.wanted.ratios:
        return {}
    rows = site.train
    generator = torch.Generator().manual_seed(model.seed("spectra", task.id))
    sample = rows.numbers[torch.randperm(len(rows), generator=generator)[:SPECTRA_ROWS]]
    model.load(task)
    modules = {name: layer.get_base_layer() for name, layer in model.bridge.layers.items()}
    batches = (rows.examples.batch(part)[0] for part in sample.split(SPECTRA_BATCH))
    return activation_spectra(model.bridge.model, modules, batches, keep=task.wanted.ratios)


def _features(model: LoadedModel, site: Site, task: ProbeTask) -> dict[str, torch.Tensor]:
    model.load(task)
    return dict(
        feature_sums(
            model.bridge.model,
            task.wanted.head,
            site.train.examples,
            site.train.numbers,
            model.blueprint.classes,
            products=task.wanted.products,
            autocast=model.settings.training.autocast,
        )
    )
