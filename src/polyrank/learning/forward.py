"""One call of a model: on which device, at which precision, and what it costs."""

from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor, nn

from polyrank.errors import SettingsError
from polyrank.inputs.arrays import Inputs


def choose_device(name: str) -> torch.device:
    """Return the device of that name; ``"auto"`` takes a GPU where there is one.

    Raises:
        SettingsError: a GPU was asked for and there is none.
    """
    if name == "cuda" and not torch.cuda.is_available():
        raise SettingsError("device = 'cuda': torch sees no GPU here; use 'auto' or 'cpu'")
    return torch.device("cuda" if name != "cpu" and torch.cuda.is_available() else "cpu")


def casting(name: str, device: torch.device) -> AbstractContextManager[object]:
    """Return the context of automatic mixed precision of that name; ``"none"`` does nothing."""
    if name == "none":
        return nullcontext()
    return torch.autocast(device.type, torch.bfloat16 if name == "bf16" else torch.float16)


def answers(model: nn.Module, inputs: Inputs, device: torch.device) -> Tensor:
    """Return a model's logits; named inputs are the arguments of a Hugging Face model."""
    if isinstance(inputs, Tensor):
        logits: Tensor = model(inputs.to(device))
    else:
        logits = model(**{name: tensor.to(device) for name, tensor in inputs.items()}).logits
    return logits.float()


def call_cost(model: nn.Module, device: torch.device) -> float:
    """Return what a call of a model costs beside its tokens, as a number of tokens.

    Measured with a BERT of six layers on one thread of a CPU: 64 tokens at 11 million
    multiplications a token. A GPU is busy only with whole batches.
    """
    if device.type != "cpu":
        return 1e9
    layers = [m for m in model.modules() if isinstance(m, nn.Linear)]
    return 7e8 / max(1, sum(layer.in_features * layer.out_features for layer in layers))
