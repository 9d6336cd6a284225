"""Which modules of a model are adapted, and what else of it is trained."""

import fnmatch
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from torch import Tensor, nn

from polyrank.errors import SettingsError, nearest


@dataclass(frozen=True)
class ModuleShape:
    """Size of one module; a convolution's ``d_in`` is in * kh * kw."""

    d_in: int
    d_out: int

    @property
    def slot_parameters(self) -> int:
        """Numbers in one slot."""
        return self.d_in + self.d_out

    @property
    def full_rank(self) -> int:
        """Largest rank that adds anything."""
        return min(self.d_in, self.d_out)


def find_targets(model: nn.Module, targets: str | Sequence[str]) -> dict[str, ModuleShape]:
    """Return the modules to adapt, in model order.

    Args:
        model: not yet wrapped.
        targets: ``"all"`` linear and convolutional modules, or name patterns such as
            ``"fc1"``, ``"block?.conv*"`` or the last part of a name, as PEFT takes them.

    Raises:
        SettingsError: a pattern fits no module, or a module cannot be adapted.
    """
    layers = {n: m for n, m in model.named_modules() if n and isinstance(m, nn.Linear | nn.Conv2d)}
    if targets == "all":
        found = set(layers)
    else:
        patterns = [targets] if isinstance(targets, str) else targets
        found = {n for p in patterns for n in _matching(p, layers)}
    shapes: dict[str, ModuleShape] = {}
    for name, layer in layers.items():
        if name not in found:
            continue
        if isinstance(layer, nn.Conv2d) and layer.groups > 1:
            raise SettingsError(
                f"module {name!r} is a convolution with {layer.groups} groups: its update is not "
                f"one product b @ a, so PolyRank does not adapt it; name other modules in targets"
            )
        weight = layer.weight
        shapes[name] = ModuleShape(d_in=weight[0].numel(), d_out=weight.shape[0])
    if not shapes:
        raise SettingsError(f"targets {targets!r}: the model has no Linear or Conv2d module")
    return shapes


def _matching(pattern: str, layers: Mapping[str, nn.Module]) -> list[str]:
    found = [
        n for n in layers if fnmatch.fnmatchcase(n, pattern) or n.rpartition(".")[2] == pattern
    ]
    if not found:
        raise SettingsError(
            f"targets: {pattern!r} fits no Linear or Conv2d module{nearest(pattern, layers)}; "
            f"the model has {', '.join(layers)}"
        )
    return found


def find_extras(
    model: nn.Module, shapes: Mapping[str, ModuleShape], extras: str | Sequence[str]
) -> dict[str, Tensor]:
    """Return what is trained besides LoRA: parameters, and all buffers that a state has.

    Args:
        model: not yet wrapped.
        shapes: the modules to adapt, from ``find_targets``.
        extras: ``"all"`` other parameters, ``"none"``, or name patterns.

    Raises:
        SettingsError: a pattern fits no parameter.
    """
    parameters = dict(model.named_parameters())
    found: dict[str, Tensor] = {n: parameters[n] for n in _extra_parameters(model, shapes, extras)}
    stored = model.state_dict()
    found |= {n: b for n, b in model.named_buffers() if n in stored}
    return {name: tensor.detach().clone() for name, tensor in found.items()}


def _extra_parameters(
    model: nn.Module, shapes: Mapping[str, ModuleShape], extras: str | Sequence[str]
) -> list[str]:
    adapted = {f"{n}.weight" for n in shapes}
    others = [n for n, _ in model.named_parameters() if n not in adapted]
    if extras == "all":
        return others
    if extras == "none":
        return []
    patterns = [extras] if isinstance(extras, str) else extras
    for pattern in patterns:
        if not fnmatch.filter(others, pattern):
            raise SettingsError(
                f"extras: {pattern!r} fits no parameter{nearest(pattern, others)}; "
                f"besides the adapted weights the model has {', '.join(others) or 'none'}"
            )
    return [n for n in others if any(fnmatch.fnmatchcase(n, p) for p in patterns)]
