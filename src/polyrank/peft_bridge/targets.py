"""Which modules of a model are adapted, and what else of it is trained."""

import fnmatch
from collections.abc import Mapping, Sequence

from torch import Tensor, nn

from polyrank.errors import SettingsError, nearest
from polyrank.lora.shapes import ModuleShape


def find_targets(
    model: nn.Module, targets: str | Sequence[str], spared: Sequence[str] = ()
) -> dict[str, ModuleShape]:
    """Return the modules to adapt, in model order.

    Args:
        model: not yet wrapped.
        targets: ``"all"`` linear and convolutional modules, ``"all-linear"``, or name patterns
            such as ``"fc1"``, ``"block?.conv*"`` or the last part of a name, as PEFT takes them.
        spared: modules that ``"all"`` and ``"all-linear"`` leave out, with all that is in them.

    Raises:
        SettingsError: a pattern fits no module, or a module cannot be adapted.
    """
    layers = {n: m for n, m in model.named_modules() if n and isinstance(m, nn.Linear | nn.Conv2d)}
    if targets in ("all", "all-linear"):
        kinds = nn.Linear if targets == "all-linear" else nn.Linear | nn.Conv2d
        found = {n for n, m in layers.items() if isinstance(m, kinds) and not _within(n, spared)}
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
        if isinstance(layer, nn.Conv2d) and (other := _beyond_peft(layer)):
            raise SettingsError(
                f"module {name!r} is a convolution with {other}, which PEFT's LoRA has not, so "
                "PolyRank does not adapt it; name other modules in targets"
            )
        if isinstance(layer, nn.Linear):  # of a packed weight the shape says nothing
            shapes[name] = ModuleShape(layer.in_features, layer.out_features)
        else:
            shapes[name] = ModuleShape(layer.weight[0].numel(), layer.out_channels)
    if not shapes:
        raise SettingsError(
            f"targets {targets!r}: the model has no Linear or Conv2d module{_transposed(model)}"
        )
    return shapes


def _beyond_peft(layer: nn.Conv2d) -> str:
    if any(step != 1 for step in layer.dilation):
        return f"dilation {layer.dilation}"
    return "" if layer.padding_mode == "zeros" else f"padding_mode {layer.padding_mode!r}"


def _transposed(model: nn.Module) -> str:
    found = [n for n, m in model.named_modules() if type(m).__name__ == "Conv1D"]
    return f"; {found[0]!r} is a Conv1D, which PolyRank does not adapt" if found else ""


def _within(name: str, modules: Sequence[str]) -> bool:
    """Whether a module or parameter is in one of the modules, each named in full or by its end."""
    return any(f".{m}." in f".{name}." for m in modules)


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
        extras: ``"all"`` other parameters, ``"none"``, or name patterns of parameters, or
            names of modules, as in PEFT's ``modules_to_save``.

    Raises:
        SettingsError: a pattern fits no parameter, or one that cannot be trained.
    """
    parameters = dict(model.named_parameters())
    found: dict[str, Tensor] = {n: parameters[n] for n in _extra_parameters(model, shapes, extras)}
    for name, tensor in found.items():
        if not tensor.is_floating_point():
            raise SettingsError(
                f"adapter.extras: {name!r} is packed into {tensor.dtype}: it cannot be trained in "
                "full, but adapted: name it in adapter.targets, or choose another model.dtype"
            )
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
        if not any(_fits(name, pattern) for name in others):
            raise SettingsError(
                f"extras: {pattern!r} fits no parameter{nearest(pattern, others)}; "
                f"besides the adapted weights the model has {', '.join(others) or 'none'}"
            )
    return [n for n in others if any(_fits(n, p) for p in patterns)]


def _fits(name: str, pattern: str) -> bool:
    return fnmatch.fnmatchcase(name, pattern) or _within(name.rpartition(".")[0], [pattern])
