"""Read a PEFT adapter folder into our scalings; it may have come from anywhere."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from pydantic import BaseModel, FiniteFloat
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from polyrank.disk.outside import read_object
from polyrank.errors import AdapterError
from polyrank.lora.factors import Factors, prefix
from polyrank.lora.scaling import Scaling

if TYPE_CHECKING:
    from peft import LoraConfig

_KEY = re.compile(r"^base_model\.model\.(?P<module>.+)\.lora_(?P<factor>[AB])\.weight$")
_ESCAPED, _SEARCHING = re.compile(r"\\."), re.compile(r"[*+?{(]")
WEIGHTS = "adapter_model.safetensors"


class _Read(BaseModel):
    """Base of the parts of a PEFT configuration that are read, checked by type."""

    lora_alpha: FiniteFloat
    alpha_pattern: dict[str, FiniteFloat]
    rank_pattern: dict[str, int]
    modules_to_save: list[str] | None
    use_rslora: bool


def read_adapter(folder: Path, scaling: Mapping[str, float]) -> dict[str, Factors]:
    """Read a PEFT folder; its alpha / r is folded into ``b`` so that ``scaling`` holds.

    With ``use_rslora`` it is alpha / sqrt(r).

    Slots are ordered by the size of their product, largest first, so that a client with
    few slots gets those that matter.

    Args:
        folder: of PEFT.
        scaling: module -> by what its product is multiplied here; 1 for those it lacks.

    Raises:
        AdapterError: not a LoRA folder with safetensors, a DoRA one, or tensors that would be
            left over.
    """
    config = _read_config(folder)
    weights = folder / WEIGHTS
    halves: dict[str, dict[str, Tensor]] = {}
    for key, tensor in _tensors(weights).items():
        match = _KEY.match(key)
        if match and (tensor.dim() < 2 or not tensor.is_floating_point()):
            raise AdapterError(
                f"{weights}: {key!r}: expected a matrix of floats, got {tensor.dtype} of shape "
                f"{tuple(tensor.shape)}"
            )
        if match:
            halves.setdefault(match["module"], {})[match["factor"]] = tensor.flatten(1)
        elif not _saved_name(key, config):
            raise AdapterError(f"{weights}: {key!r} is not a LoRA factor that PolyRank can place")
    return {
        name: _factors(weights, name, pair, _scaling_of(config, name, pair) / scaling.get(name, 1))
        for name, pair in halves.items()
    }


def read_saved(folder: Path) -> dict[str, Tensor]:
    """Return the parameters of a PEFT folder's ``modules_to_save``, by their name in the model.

    Raises:
        AdapterError: see ``read_adapter``.
    """
    config = _read_config(folder)
    tensors = _tensors(folder / WEIGHTS)
    named = {_saved_name(key, config): tensor for key, tensor in tensors.items()}
    return {name: tensor for name, tensor in named.items() if name}


def check_adapter_folder(folder: Path) -> None:
    """Check that PEFT imports and unpickles nothing for this adapter, and comes to an end.

    Its other kinds of adapter load further ones, and a configuration for Megatron names a module
    to import; where there is no safetensors file, PEFT takes a pickle. And it looks for modules
    with the patterns that the folder holds.

    Raises:
        AdapterError: not a LoRA folder with safetensors, or a pattern that is more than names.
    """
    config = _read_config(folder)
    for field in ("target_modules", "exclude_modules", "layers_pattern"):
        given = getattr(config, field)
        _check_names(folder, field, [given] if isinstance(given, str) else given or [])
    if not (folder / WEIGHTS).is_file():
        raise AdapterError(f"{folder}: expected the adapter's safetensors, {WEIGHTS}, found none")


def _read_config(folder: Path) -> LoraConfig:
    expected = "a PEFT folder with adapter_config.json"
    said = read_object(folder / "adapter_config.json", AdapterError, expected, most=2**22)
    if said.get("peft_type", "LORA") != "LORA" or said.get("megatron_config"):
        raise AdapterError(
            f"{folder}: expected a plain LoRA adapter, got peft_type {said.get('peft_type')!r}"
            + (" for Megatron" if said.get("megatron_config") else "")
        )
    from peft import LoraConfig

    try:
        config = LoraConfig.from_pretrained(folder)
        _Read.model_validate(config, from_attributes=True)
    except (ValueError, TypeError, KeyError, AttributeError, ImportError) as error:
        raise AdapterError(f"{folder}: not a LoRA adapter: {error}") from error
    _check_names(folder, "alpha_pattern", config.alpha_pattern)
    _check_names(folder, "rank_pattern", config.rank_pattern)
    if config.use_dora:
        raise AdapterError(f"{folder}: a DoRA adapter; PolyRank reads plain LoRA only")
    return config


def _check_names(folder: Path, field: str, patterns: Iterable[str]) -> None:
    """Refuse patterns that repeat or group: a search for one from elsewhere may never end."""
    for pattern in patterns:
        if _SEARCHING.search(_ESCAPED.sub("", pattern)):
            raise AdapterError(
                f"{folder}: {field}: expected names of modules, got the pattern {pattern[:80]!r}"
            )


def _tensors(weights: Path) -> dict[str, Tensor]:
    try:
        found: dict[str, Tensor] = load_file(weights)
    except (OSError, SafetensorError) as error:
        raise AdapterError(f"{weights}: expected the adapter's safetensors: {error}") from error
    for key, tensor in found.items():
        if tensor.is_floating_point() and not torch.isfinite(tensor.float()).all():
            raise AdapterError(f"{weights}: {key!r}: expected finite numbers, got NaN or infinity")
    return found


def _saved_name(key: str, config: LoraConfig) -> str | None:
    """Return a parameter's name in the model if it belongs to ``modules_to_save``."""
    name = key.removeprefix("base_model.model.")
    owners = config.modules_to_save or []
    return name if any(f".{owner}." in f".{name}" for owner in owners) else None


def _scaling_of(config: LoraConfig, name: str, pair: Mapping[str, Tensor]) -> float:
    from peft.utils.other import get_pattern_key

    try:
        key = get_pattern_key(list(config.alpha_pattern), name)
    except re.error as error:
        raise AdapterError(f"alpha_pattern of the adapter, for module {name!r}: {error}") from error
    alpha = config.alpha_pattern.get(key, config.lora_alpha)
    rank = next(iter(pair.values())).shape[0 if "A" in pair else 1]
    return Scaling(alpha, "sqrt_rank" if config.use_rslora else "rank").training(rank)


def _factors(weights: Path, name: str, pair: Mapping[str, Tensor], ratio: float) -> Factors:
    if pair.keys() != {"A", "B"} or pair["A"].shape[0] != pair["B"].shape[1]:
        shapes = {factor: tuple(tensor.shape) for factor, tensor in pair.items()}
        raise AdapterError(f"{weights}: module {name!r}: factors do not pair up: {shapes}")
    a, b = pair["A"].float(), pair["B"].float() * ratio
    order = torch.argsort(a.norm(dim=1) * b.norm(dim=0), descending=True, stable=True)
    return Factors(a[order], b[:, order], prefix(len(order)))
