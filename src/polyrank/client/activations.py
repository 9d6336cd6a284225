"""How the variance of a module's inputs spreads over directions: what EVA gives ranks by.

Paischer, Hauzenberger, Schmied, Alkin, Deisenroth, Hochreiter, "One Initialization to Rule
them All: Fine-tuning via Explained Variance Adaptation", 2024, https://arxiv.org/abs/2410.07170

The paper and PEFT follow the leading directions with an incremental decomposition of the
batches. Ours: the whole covariance is summed up, in float64, and its eigenvalues are exact.
Means are merged as in Chan, Golub, LeVeque, "Updating Formulae and a Pairwise Algorithm for
Computing Sample Variances", Stanford CS-TR-79-773, 1979.
"""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import TypeAlias

import torch
from torch import Tensor, nn
from torch.nn.functional import pad, unfold

from polyrank.errors import DataError, SettingsError

Batch: TypeAlias = Tensor | Mapping[str, Tensor]
BLOCK = 2**22  # float64 numbers of one module's inputs that are worked on at a time


def activation_spectra(
    model: nn.Module,
    modules: Mapping[str, nn.Module],
    batches: Iterable[Batch],
    *,
    keep: int | None = None,
) -> dict[str, list[float]]:
    """Return each module's explained-variance ratios, eigenvalue / total variance, falling.

    Inputs are centred, as PEFT centres them: ratios are those of the covariance around the
    mean of all rows, not of the second moments. A row is what one product with the weight
    sees: a token, or the patch below one output pixel of a convolution. Tokens that the batch's
    ``attention_mask`` leaves out do not count; labels are not looked at.

    One pass in evaluation mode, without gradients; no activations are stored. Memory is
    8 * d_in² bytes a module, time rows * d_in² and d_in³ for the eigenvalues.

    Args:
        model: called once a batch, ``model(batch)`` or ``model(**batch)``; left as it was.
        modules: name -> a Linear or ungrouped Conv2d inside ``model``; of a layer that PEFT
            has wrapped, its base layer.
        batches: inputs, or keyword arguments of the model; moved to the model's device.
        keep: at most so many leading ratios; None for all d_in.

    Returns:
        module -> (min(keep, d_in),) ratios; all 0 where the inputs do not vary.

    Raises:
        SettingsError: a module is of another kind, or the model does not call it.
        DataError: no batch, or activations that are not finite.
    """
    for name, module in modules.items():
        if not isinstance(module, nn.Linear | nn.Conv2d) or getattr(module, "groups", 1) > 1:
            raise SettingsError(
                f"module {name!r}: expected a Linear or ungrouped Conv2d, got {module}"
            )
    moments = {name: _Moments() for name in modules}
    count = 0
    with torch.no_grad(), _evaluating(model), ExitStack() as hooks:
        tokens = _Tokens()
        for name, module in modules.items():
            hooks.enter_context(_watching(module, moments[name], tokens))
        for batch in batches:
            _forward(model, batch, tokens)
            count += 1
    if not count:
        raise DataError("expected at least one batch to measure activations on, got none")
    return {name: _ratios(name, found, keep) for name, found in moments.items()}


@dataclass
class _Tokens:
    """Which tokens of the batch at hand count (b * t,), or None for all."""

    mask: Tensor | None = None


class _Moments:
    """Running number of rows, their mean (d,), and their scatter around it (d, d), float64."""

    def __init__(self) -> None:
        self.rows = 0
        self.mean, self.scatter = torch.zeros(()), torch.zeros(())

    def add(self, rows: Tensor) -> None:
        """Take in rows (n, d)."""
        n = len(rows)
        if not n:
            return
        rows = rows.double()
        mean = rows.mean(dim=0)
        rows = rows - mean
        away = mean - self.mean if self.rows else torch.zeros_like(mean)
        self.scatter = self.scatter.to(rows) + rows.T @ rows
        self.scatter += torch.outer(away, away) * (self.rows * n / (self.rows + n))
        self.mean = self.mean + away * (n / (self.rows + n)) if self.rows else mean
        self.rows += n


def _ratios(name: str, found: _Moments, keep: int | None) -> list[float]:
    if not found.rows:
        raise SettingsError(
            f"module {name!r}: expected inputs, got none: the model did not call it"
        )
    total = found.scatter.trace()
    if not torch.isfinite(total):
        raise DataError(f"module {name!r}: expected finite inputs, got NaN or infinity")
    noise = torch.finfo(torch.float64).eps * found.rows * found.mean.square().sum()
    if total <= noise:
        return [0.0] * len(found.mean[:keep])
    values = torch.linalg.eigvalsh(found.scatter).flip(0).clamp(min=0)
    ratios: list[float] = (values / total)[:keep].tolist()
    return ratios


def _forward(model: nn.Module, batch: Batch, tokens: _Tokens) -> None:
    device = next(model.parameters()).device
    if isinstance(batch, Tensor):
        model(batch.to(device))
        return
    moved = {name: tensor.to(device) for name, tensor in batch.items()}
    mask = moved.get("attention_mask")
    tokens.mask = None if mask is None else mask.bool().flatten()
    model(**moved)


@contextmanager
def _evaluating(model: nn.Module) -> Iterator[None]:
    """Put the model in evaluation mode, and each of its modules back afterwards."""
    were = {module: module.training for module in model.modules()}
    model.eval()
    try:
        yield
    finally:
        for module, training in were.items():
            module.training = training


@contextmanager
def _watching(module: nn.Module, moments: _Moments, tokens: _Tokens) -> Iterator[None]:
    """Add to ``moments`` whatever ``module`` is given."""

    def take(module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        for rows in _rows(module, inputs[0], tokens.mask):
            moments.add(rows)

    handle = module.register_forward_pre_hook(take)
    try:
        yield
    finally:
        handle.remove()


def _rows(module: nn.Module, inputs: Tensor, mask: Tensor | None) -> Iterator[Tensor]:
    """Yield the rows (n, d_in) that a module multiplies its weight with, a block at a time."""
    if isinstance(module, nn.Conv2d):
        yield from _patches(module, inputs)
        return
    rows = inputs.reshape(-1, inputs.shape[-1])
    if mask is not None and len(mask) == len(rows):
        rows = rows[mask]
    yield from rows.split(max(1, BLOCK // rows.shape[1]))


def _patches(module: nn.Conv2d, images: Tensor) -> Iterator[Tensor]:
    """Yield the patches (n, in * kh * kw) of images (b, in, h, w), in the weight's order."""
    mode = "constant" if module.padding_mode == "zeros" else module.padding_mode
    padding: list[int] = module._reversed_padding_repeated_twice  # also of "same" and "valid"
    numbers = images[0].numel() * module.kernel_size[0] * module.kernel_size[1]
    for some in images.split(max(1, BLOCK // numbers)):
        padded = pad(some, padding, mode=mode)
        columns = unfold(padded, module.kernel_size, dilation=module.dilation, stride=module.stride)
        yield columns.transpose(1, 2).flatten(0, 1)
