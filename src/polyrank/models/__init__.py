"""Models that can be adapted, by name, or one's own ``"my_package:make_model"``.

An entry is a function that returns a ``torch.nn.Module`` taking a float batch and giving
logits (n, classes). It may ask for ``input_shape`` and ``classes``, which come from the
data; its other keyword-only parameters are options of the settings file. A factory of
pre-trained models says more of them with ``@pretrained``.
"""

import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from typing import TYPE_CHECKING, Any

from polyrank.errors import SettingsError
from polyrank.models.pretrained import Pretrained
from polyrank.registry import Table, check_options

if TYPE_CHECKING:
    from torch import nn

MODELS = Table(
    "model",
    {
        "mlp": "polyrank.models.mlp:mlp",
        "cnn": "polyrank.models.cnn:cnn",
        "hf": "polyrank.models.hf:hf",
    },
    group="polyrank.models",
)

_FROM_DATA = ("input_shape", "classes")


def build_model(
    name: str, options: Mapping[str, Any], input_shape: Sequence[int], classes: int, seed: int
) -> "nn.Module":
    """Build a model with weights drawn from ``seed``; torch's own random state is left alone.

    Raises:
        SettingsError: an option is unknown or of the wrong type, or no module came back.
    """
    import torch

    make, bound = _bind(name, options, input_shape, classes)
    with torch.random.fork_rng(devices=[]), _possible(name):
        torch.manual_seed(seed)
        model = make(**bound)
    if not isinstance(model, torch.nn.Module):
        raise SettingsError(
            f"model {name!r}: expected a torch.nn.Module, got {type(model).__name__}"
        )
    return model


def build_shell(
    name: str, options: Mapping[str, Any], input_shape: Sequence[int], classes: int
) -> "nn.Module":
    """Build a model whose weights are to be put in by ``weights.put_weights``.

    No weights are read or drawn, and the parameters take no memory, so that sizes which somebody
    else has written down cost nothing before the weights are there; only a model of one's own is
    built as it is.

    Raises:
        SettingsError: an option is unknown or of the wrong type, or no module came back.
    """
    import torch

    about = pretrained_of(name)
    if about:
        _, bound = _bind(name, options, input_shape, classes)
        return about.shell(**bound)
    with torch.device("meta") if name in MODELS.own else nullcontext():
        return build_model(name, options, input_shape, classes, 0)


def pretrained_of(name: str) -> Pretrained | None:
    """Return what a factory of pre-trained models says of them; None for any other."""
    about: Pretrained | None = getattr(MODELS.load(name), "pretrained", None)
    return about


def check_model(name: str, options: Mapping[str, Any]) -> dict[str, Any]:
    """Check a model's options before there are data, and return them converted.

    Raises:
        SettingsError: an option is unknown, missing or of the wrong type.
    """
    return _bind(name, options, (), 1)[1]


@contextmanager
def _possible(name: str) -> Iterator[None]:
    """Answer sizes that torch cannot make a model of; one's own model speaks for itself."""
    try:
        yield
    except (RuntimeError, OverflowError, MemoryError, TypeError, ValueError) as error:
        if name not in MODELS.own:
            raise
        said = str(error).partition("\n")[0] or type(error).__name__
        raise SettingsError(f"model {name!r}: cannot be built: {said}") from error


def _bind(
    name: str, options: Mapping[str, Any], input_shape: Sequence[int], classes: int
) -> tuple[Callable[..., Any], dict[str, Any]]:
    make = MODELS.load(name)
    given = {"input_shape": tuple(input_shape), "classes": classes}
    asked = {k: v for k, v in given.items() if k in inspect.signature(make).parameters}
    for key in options.keys() & asked.keys():
        raise SettingsError(f"model {name!r}: {key!r} comes from the data and cannot be set")
    return make, check_options(make, {**options, **asked}, f"model {name!r}")
