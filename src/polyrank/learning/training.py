"""Train one model on some rows."""

import math
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from polyrank.allocators.observing import Watch
from polyrank.errors import TrainingError
from polyrank.inputs.arrays import ExampleSet
from polyrank.inputs.losses import calibrated, log_shares, predictions, targets
from polyrank.learning.forward import answers, call_cost, casting
from polyrank.settings.training import TrainingSettings


@dataclass
class Fitted:
    """What a training left besides the trained parameters.

    Args:
        epoch_losses: mean training loss of each epoch.
        steps: optimiser steps taken.
        seconds: wall time.
        observed: module -> (r,) what the watch has seen of each slot.
    """

    epoch_losses: list[float] = field(default_factory=list)
    steps: int = 0
    seconds: float = 0.0
    observed: Mapping[str, Tensor] = field(default_factory=dict)


def fit(
    model: nn.Module,
    parameters: list[nn.Parameter],
    examples: ExampleSet,
    rows: Tensor,
    training: TrainingSettings,
    learning_rate: float,
    generator: torch.Generator,
    *,
    head: Sequence[nn.Parameter] = (),
    schedule: Iterable[Sequence[Tensor]] | None = None,
    penalty: Callable[[], Tensor] | None = None,
    watch: Watch | None = None,
) -> Fitted:
    """Train ``parameters`` of ``model`` on some rows with cross-entropy.

    Args:
        model: on any device; put into training mode.
        parameters: what the optimiser changes.
        examples: where the rows are.
        rows: (n,) row numbers, shuffled each epoch by ``generator``.
        training: optimiser, epochs or steps, batch size, loss, clipping and FedProx's mu.
        learning_rate: of this round.
        generator: source of the shuffling.
        head: those of ``parameters`` that train at the head's learning rate.
        schedule: batches of places in ``rows`` in place of epochs; each group of them has its
            mean loss among the epochs'.
        penalty: added to the loss of every batch; the losses in the outcome are without it.
        watch: sees every optimiser step, whatever parts the batch comes in.

    Raises:
        TrainingError: there are no rows, nothing to train, or the training diverged.
    """
    if not len(rows) or not parameters:
        raise TrainingError(f"{len(rows)} rows, {len(parameters)} trainable tensors: no training")
    started = time.perf_counter()
    model.train()
    device = parameters[0].device
    scaler = torch.amp.GradScaler(device.type, enabled=training.autocast == "fp16")
    optimizer = make_optimizer(parameters, training, learning_rate, head)
    step = _stepper(parameters, training, optimizer, scaler, watch)
    prior = log_shares(examples.labels[rows]) if training.local_loss == "calibrated" else None
    cost = call_cost(model, device)
    outcome = Fitted()
    for batches in schedule or _epochs(len(rows), training, generator):
        total, seen = torch.zeros(()), 0
        for places in batches:
            cut = examples.parts(rows[places], training.accumulate, cost)
            parts = [examples.batch(part) for part in cut]
            counts = [len(targets(labels)) for _, labels in parts]
            for (inputs, labels), count in zip(parts, counts, strict=True):
                with casting(training.autocast, device):
                    logits = answers(model, inputs, device)
                loss = _loss(logits, labels.to(device), prior)
                if len(parts) > 1:
                    loss = loss * (count / sum(counts))
                scaler.scale(loss).backward()
                total += loss.detach().cpu() * sum(counts)
            if penalty and (added := penalty()).requires_grad:  # of one slot there is no tail
                scaler.scale(added).backward()
            step()
            seen += sum(counts)
            outcome.steps += 1
        outcome.epoch_losses.append(float(total) / seen)
    _check_finite(parameters, outcome.epoch_losses[-1], learning_rate)
    if watch:
        outcome.observed = watch.result()
    outcome.seconds = time.perf_counter() - started
    return outcome


def _check_finite(parameters: Sequence[nn.Parameter], loss: float, learning_rate: float) -> None:
    came = f"the loss became {loss}"
    if math.isfinite(loss):
        if _finite(parameters):
            return
        came = "parameters became infinite or NaN"
    raise TrainingError(
        f"training diverged at learning rate {learning_rate:g}, {came}: lower learning_rate or "
        "set clip_norm; values in the data that are far too large have the same effect"
    )


def _finite(tensors: Iterable[Tensor | None]) -> bool:
    return all(t is None or bool(torch.isfinite(t).all()) for t in tensors)


def _loss(logits: Tensor, labels: Tensor, prior: Tensor | None) -> Tensor:
    """Return the mean loss of the targets."""
    chosen = predictions(logits, labels)
    if prior is not None:
        chosen = calibrated(chosen, prior)
    return functional.cross_entropy(chosen, targets(labels))


def _epochs(
    rows: int, training: TrainingSettings, generator: torch.Generator
) -> Iterator[tuple[Tensor, ...]]:
    """Yield each epoch's batches of places; the last epoch may be cut by ``steps``."""
    left = training.steps
    epochs = 0
    while left is None or left > 0:
        batches = torch.randperm(rows, generator=generator).split(training.batch_size)
        yield batches[:left]
        epochs += 1
        if left is None and epochs == training.epochs:
            return
        left = None if left is None else left - len(batches)


def _stepper(
    parameters: list[nn.Parameter],
    training: TrainingSettings,
    optimizer: torch.optim.Optimizer,
    scaler: torch.amp.GradScaler,
    watch: Watch | None,
) -> Callable[[], None]:
    """Return what follows ``backward``: FedProx's pull, clipping, the step, zeroed gradients.

    The watch comes first: it sees the loss of the data, which neither pulls nor is bounded.

    FedProx (Li et al. 2020, https://arxiv.org/abs/1812.06127) adds mu/2 ||w - w_round||².
    """
    start = [p.detach().clone() for p in parameters] if training.prox_mu else []

    def step() -> None:
        scaler.unscale_(optimizer)
        if watch and _finite(p.grad for p in parameters):
            watch.step()
        for parameter, origin in zip(parameters, start, strict=False):
            if parameter.grad is not None:
                parameter.grad.add_(parameter.detach() - origin, alpha=training.prox_mu)
        if training.clip_norm:
            _bound([p for p in parameters if p.grad is not None], training.clip_norm)
        scaler.step(optimizer)
        scaler.update()
        optimizer.zero_grad()

    return step


def _bound(parameters: Sequence[nn.Parameter], most: float) -> None:
    """Scale gradients down whose norm, of all together, is above a bound.

    Most are not: on the host it is asked first, which is much cheaper than to scale by one; an
    accelerator would have to be waited for.
    """
    norms = [torch.linalg.vector_norm(p.grad) for p in parameters if p.grad is not None]
    if norms and norms[0].is_cpu and float(torch.stack(norms).norm()) <= most:
        return
    nn.utils.clip_grad_norm_(parameters, most)


def make_optimizer(
    parameters: list[nn.Parameter],
    training: TrainingSettings,
    learning_rate: float,
    head: Sequence[nn.Parameter] = (),
) -> torch.optim.Optimizer:
    """Build the optimiser of the settings, in torch's fused form.

    ``learning_rate`` is this round's, so the rate of the ``head`` is scaled as it is.
    """
    groups: list[dict[str, Any]] = [{"params": parameters}]
    if training.head_learning_rate is not None and head:
        apart = {id(p) for p in head}
        rate = training.head_learning_rate * learning_rate / training.learning_rate
        groups = [
            {"params": [p for p in parameters if id(p) not in apart]},
            {"params": [p for p in parameters if id(p) in apart], "lr": rate},
        ]
    decay = training.weight_decay
    if training.optimizer == "sgd":
        return torch.optim.SGD(
            groups, learning_rate, momentum=training.momentum, weight_decay=decay, fused=True
        )
    kind = torch.optim.Adam if training.optimizer == "adam" else torch.optim.AdamW
    return kind(groups, learning_rate, weight_decay=decay, fused=True)
