"""What of a model is adapted and what is trained in full, from the settings and the model."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from torch import nn

from polyrank.models import pretrained_of
from polyrank.peft_bridge import Bridge, ModuleShape, find_targets
from polyrank.settings import Settings


@dataclass(frozen=True)
class Parts:
    """The parts of a model that are trained.

    Args:
        shapes: the modules that get LoRA.
        extras: ``"all"``, ``"none"`` or names, as ``find_extras`` takes them.
    """

    shapes: Mapping[str, ModuleShape]
    extras: str | Sequence[str]


def trained_parts(settings: Settings, model: nn.Module) -> Parts:
    """Find what is trained; the model must not be wrapped yet.

    Of a pre-trained model the head is no target of ``"all"`` and ``"all-linear"``, and nor is
    a module that ``adapter.extras`` names: it is trained in full instead.

    Raises:
        SettingsError: a name fits nothing in the model.
    """
    about = pretrained_of(settings.model.kind)
    extras: str | Sequence[str] = settings.adapter.extras
    targets = settings.adapter.targets
    if about is None:
        return Parts(find_targets(model, targets), "all" if extras == "auto" else extras)
    if extras == "auto":
        extras = list(about.extras(model)) or "none"
    named = [extras] if isinstance(extras, str) else extras
    return Parts(find_targets(model, targets, [*about.head(model), *named]), extras)


def wrap(settings: Settings, model: nn.Module) -> Bridge:
    """Put LoRA into a model as the settings say."""
    parts = trained_parts(settings, model)
    return Bridge(model, parts.shapes, parts.extras, settings.adapter.scaling)
