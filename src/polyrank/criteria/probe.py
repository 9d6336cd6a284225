"""Mark criteria that need a probe: losses of a first local training on the client."""

from collections.abc import Callable
from typing import TypeVar

CriterionT = TypeVar("CriterionT", bound=Callable[..., float])


def reads_losses(criterion: CriterionT) -> CriterionT:
    """Mark a criterion that reads ``epoch_losses`` or ``example_losses`` of its view.

    Clients then train a probe before the first round, which costs as much as training
    does. It works the same on a criterion of one's own.
    """
    criterion.reads_losses = True  # type: ignore[attr-defined]
    return criterion
