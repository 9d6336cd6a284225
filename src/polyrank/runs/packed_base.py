"""What a run cannot do with a frozen base whose weights are packed into fewer bits."""

from torch import nn

from polyrank.aggregators import AGGREGATORS
from polyrank.errors import SettingsError
from polyrank.settings.schema import Settings


def check_packed(settings: Settings, model: nn.Module) -> None:
    """Refuse what would change packed weights; any other model passes.

    Raises:
        SettingsError: the base is to be pre-trained, or the aggregator adds to it.
    """
    if all(parameter.is_floating_point() for parameter in model.parameters()):
        return
    held = "model.dtype: the base is packed into 4 bits"
    if settings.pretrain is not None:
        raise SettingsError(f"{held} and cannot be trained: leave pretrain out")
    if AGGREGATORS.build(settings.aggregator).changes_base:
        raise SettingsError(
            f"{held}, and aggregator {settings.aggregator.kind!r} adds to it in every round, "
            "which would be rounded away: choose one that leaves the base alone, such as "
            "'anchored', 'flexlora' or 'rbla', or model.dtype = 'bf16'"
        )
