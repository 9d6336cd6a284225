"""Mark criteria that read more than counts: losses of a probe on the client, or its tokens."""

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


def reads_tokens(criterion: CriterionT) -> CriterionT:
    """Mark a criterion that reads ``token_counts`` of its view."""
    criterion.reads_tokens = True  # type: ignore[attr-defined]
    return criterion
