"""What a client may say of each of its slots after training, for an allocator to choose by.

A function of a module's factors before and after training is enough where these tell all. One
that needs the gradients on the way watches the training: ``watching`` is called with the
parameters as they were loaded, and returns the watch of this one training.
"""

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Protocol, TypeAlias, runtime_checkable

if TYPE_CHECKING:
    from torch import Tensor

    from polyrank.lora.factors import Factors, Part

Trained: TypeAlias = "Mapping[str, Mapping[Part, Tensor]]"


class Watch(Protocol):
    """What sees one training of one client, step by step."""

    def step(self) -> None:
        """See one optimiser step, before it is taken.

        The gradients are those of the loss of the whole batch at the weights as they are: no
        longer multiplied for half precision, and not yet pulled (FedProx) or clipped. A step that
        is skipped, because gradients overflowed, is not seen. Weights and gradients must be left
        as they are.
        """
        ...

    def result(self) -> "Mapping[str, Tensor]":
        """Return one number a slot for every module that training was given: (r,)."""
        ...


@runtime_checkable
class WatchingObserver(Protocol):
    """An observer that watches clients train."""

    def watching(self, parameters: Trained) -> Watch:
        """Begin to watch a training.

        Args:
            parameters: module -> part -> the parameter that training changes, with its slots
                along ``part.axis`` and any shape otherwise; ``grad`` is None where a step did not
                reach it. Parts that stay as they are, and modules without slots, are not there.
        """
        ...


Observer: TypeAlias = Callable[["Factors", "Factors"], "Tensor"] | WatchingObserver
