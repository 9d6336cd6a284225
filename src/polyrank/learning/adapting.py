"""What of a model is adapted and what is trained in full, from the settings and the model."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from polyrank.errors import SettingsError
from polyrank.learning.forward import choose_device
from polyrank.lora.shapes import ModuleShape
from polyrank.models import MODELS
from polyrank.peft_bridge import Bridge, find_targets
from polyrank.settings.ranges import scalings
from polyrank.settings.schema import Settings


@dataclass(frozen=True)
class TrainedParts:
    """The parts of a model that are trained.

    Args:
        shapes: the modules that get LoRA.
        extras: ``"all"``, ``"none"`` or names, as ``find_extras`` takes them.
    """

    shapes: Mapping[str, ModuleShape]
    extras: str | Sequence[str]


def trained_parts(settings: Settings, model: nn.Module) -> TrainedParts:
    """Find what is trained; the model must not be wrapped yet.

    Of a pre-trained model the head is no target of ``"all"`` and ``"all-linear"``, and nor is
    a module that ``adapter.extras`` names: it is trained in full instead.

    Raises:
        SettingsError: a name fits nothing in the model, or the model cannot do what is asked.
    """
    if settings.training.checkpointing and not _can_checkpoint(model):
        raise SettingsError(
            f"training.checkpointing: the model {settings.model.kind!r} ({type(model).__name__}) "
            "has no gradient checkpointing of transformers; leave it out"
        )
    _check_precision(settings, model)
    about = MODELS.build(settings.model).pretrained
    extras: str | Sequence[str] = settings.adapter.extras
    targets = settings.adapter.targets
    if about is None:
        return TrainedParts(find_targets(model, targets), "all" if extras == "auto" else extras)
    if extras == "auto":
        extras = list(about.extras(model)) or "none"
    named = [extras] if isinstance(extras, str) else extras
    return TrainedParts(find_targets(model, targets, [*about.head(model), *named]), extras)


def wrap(settings: Settings, model: nn.Module) -> Bridge:
    """Put LoRA into a model as the settings say."""
    parts = trained_parts(settings, model)
    scaling = scalings(settings, parts.shapes)
    on_cpu = choose_device(settings.device).type == "cpu"
    pads = on_cpu and settings.training.autocast == "bf16"
    bridge = Bridge(model, parts.shapes, parts.extras, scaling, pads=pads)
    if settings.training.checkpointing:
        _checkpoint(model)
    if on_cpu and _bf16(settings, model):
        _spell_out_attention(model)
    return bridge


def _bf16(settings: Settings, model: nn.Module) -> bool:
    return settings.training.autocast == "bf16" or any(
        p.dtype == torch.bfloat16 for p in model.parameters()
    )


def _spell_out_attention(model: Any) -> None:  # noqa: ANN401 - transformers' method
    # torch's fused attention has no fast backward pass in bfloat16 on a CPU: with a BERT of six
    # layers and texts of 20 words it takes half of a step.
    if hasattr(model, "set_attn_implementation"):
        model.set_attn_implementation("eager")


def _checkpoint(model: Any) -> None:  # noqa: ANN401 - transformers' method, under either name
    if hasattr(model, "activation_checkpointing_enable"):
        model.activation_checkpointing_enable()
    else:
        model.gradient_checkpointing_enable({"use_reentrant": False})


def _check_precision(settings: Settings, model: nn.Module) -> None:
    halves = {torch.bfloat16: "bf16", torch.float16: "fp16"}
    held = {halves[p.dtype] for p in model.parameters() if p.dtype in halves}
    asked = settings.training.autocast
    if asked != "none" and held - {asked}:
        raise SettingsError(
            f"training.autocast = {asked!r} with weights in {'/'.join(held)}: the two halves do "
            f"not mix; expected 'none' or {'/'.join(held)!r}, or model.dtype = 'fp32'"
        )


def _can_checkpoint(model: nn.Module) -> bool:
    return bool(getattr(model, "supports_gradient_checkpointing", False))
