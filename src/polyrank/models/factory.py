"""A model that is named, with its options, before it is known what data it is for."""

import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from polyrank.errors import SettingsError
from polyrank.models.pretrained import Pretrained
from polyrank.registry import Found, check_options

if TYPE_CHECKING:
    from torch import nn

FROM_DATA = ("input_shape", "classes")


@dataclass(frozen=True)
class ModelFactory:
    """Builds one model; the options are checked when it does.

    Args:
        found: the function that makes the model, and its options as they were given.
    """

    found: Found

    @property
    def pretrained(self) -> Pretrained | None:
        """What a factory of pre-trained models says of them; None for any other."""
        about: Pretrained | None = getattr(self.found.target, "pretrained", None)
        return about

    def options(self, input_shape: Sequence[int] = (), classes: int = 1) -> dict[str, Any]:
        """Return the options converted, and what the function asks for of the data.

        Raises:
            SettingsError: an option is unknown, missing or of the wrong type.
        """
        where, target, options = self.found.where, self.found.target, self.found.options
        given: Mapping[str, Any] = {"input_shape": tuple(input_shape), "classes": classes}
        asked = {k: given[k] for k in FROM_DATA if k in inspect.signature(target).parameters}
        for key in options.keys() & asked.keys():
            raise SettingsError(f"{where}: {key!r} comes from the data and cannot be set")
        return check_options(target, {**options, **asked}, where)

    def model(self, input_shape: Sequence[int], classes: int, seed: int) -> "nn.Module":
        """Build it with weights drawn from ``seed``; torch's own random state is left alone.

        Raises:
            SettingsError: an option is unknown or of the wrong type, or no module came back.
        """
        import torch

        bound = self.options(input_shape, classes)
        make: Callable[..., object] = self.found.target
        with torch.random.fork_rng(devices=[]), self._possible():
            torch.manual_seed(seed)
            model = make(**bound)
        if not isinstance(model, torch.nn.Module):
            raise SettingsError(
                f"{self.found.where}: expected a torch.nn.Module, got {type(model).__name__}"
            )
        return model

    def shell(self, input_shape: Sequence[int], classes: int) -> "nn.Module":
        """Build it for weights that ``models.weights.put_weights`` puts in.

        No weights are read or drawn, and the parameters take no memory, so that sizes which
        somebody else has written down cost nothing before the weights are there; only a model of
        one's own is built as it is.

        Raises:
            SettingsError: an option is unknown or of the wrong type, or no module came back.
        """
        import torch

        if self.pretrained:
            return self.pretrained.shell(**self.options(input_shape, classes))
        with torch.device("meta") if self.found.own else nullcontext():
            return self.model(input_shape, classes, 0)

    @contextmanager
    def _possible(self) -> Iterator[None]:
        """Answer sizes that torch cannot make a model of; one's own model speaks for itself."""
        try:
            yield
        except (RuntimeError, OverflowError, MemoryError, TypeError, ValueError) as error:
            if not self.found.own:
                raise
            said = str(error).partition("\n")[0] or type(error).__name__
            raise SettingsError(f"{self.found.where}: cannot be built: {said}") from error
