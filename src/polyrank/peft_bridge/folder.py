"""PEFT adapter folders: write one that stands for our adapter, read one into our scalings."""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from pydantic import BaseModel, FiniteFloat
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from polyrank.disk.outside import read_object
from polyrank.errors import AdapterError
from polyrank.lora.factors import Adapter, Factors, Tensors, prefix

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


@dataclass(frozen=True)
class Published:
    """A base that is used as it was published.

    Args:
        name: of the model, for ``from_pretrained``; None where it has none for everybody.
        saved: modules that were trained in full and are written beside LoRA.
        task: PEFT's name of what it does, by which its auto classes load it; None for others.
    """

    name: str | None
    saved: Sequence[str]
    task: str | None = None


def saved_modules(adapter: Adapter, extras: Tensors) -> list[str] | None:
    """Return the modules that hold the extras, for PEFT's ``modules_to_save``.

    None if that cannot hold them: an extra, such as a bias, is in an adapted module.
    """
    owners = list(dict.fromkeys(name.rpartition(".")[0] for name in extras))
    if any(not owner or owner in adapter for owner in owners):
        return None
    return owners


def write_adapter(
    folder: Path,
    model: nn.Module,
    adapter: Adapter,
    scaling: Mapping[str, float],
    pad_rank: int | None = None,
    published: Published | None = None,
) -> None:
    """Write a PEFT folder that ``PeftModel.from_pretrained`` loads onto ``model``.

    A module whose rank is not the largest has its own ``^name$`` key in ``rank_pattern``, and one
    whose alpha / r would not be our scaling of it has one in ``alpha_pattern``. ``use_rslora`` is
    never set: alpha says the same.

    Args:
        folder: made if it is not there.
        model: the base, which PEFT wraps in place.
        adapter: modules without slots are left out.
        scaling: module -> by what its product ``b @ a`` is multiplied; in SVD form ``e`` goes
            into ``b``.
        pad_rank: pad every module with zero slots up to this rank, for servers of models
            that take one rank for all modules; the product stays the same.
        published: the base is a public model, of which nothing but these modules is written.

    Raises:
        AdapterError: the adapter has no slots at all, or more than ``pad_rank`` in a module.
    """
    present = {name: factors.folded() for name, factors in adapter.items() if factors.rank}
    if not present:
        raise AdapterError("the adapter has no slots in any module: there is nothing to export")
    if pad_rank is not None:
        present = {name: _padded(name, factors, pad_rank) for name, factors in present.items()}
    from peft import LoraConfig, get_peft_model

    ranks = {name: factors.rank for name, factors in present.items()}
    alphas = {name: scaling[name] * rank for name, rank in ranks.items()}
    first = max(ranks, key=lambda name: ranks[name])
    largest, alpha = ranks[first], alphas[first]
    config = LoraConfig(
        r=largest,
        lora_alpha=alpha,
        target_modules=_targets(model, present),
        rank_pattern=_pattern({n: rank for n, rank in ranks.items() if rank != largest}),
        alpha_pattern=_pattern({n: own for n, own in alphas.items() if own != alpha}),
        inference_mode=True,
        modules_to_save=list(published.saved) if published else None,
        base_model_name_or_path=published.name if published else None,
    )
    with warnings.catch_warnings(), torch.random.fork_rng(devices=[]):
        warnings.simplefilter("ignore")
        wrapped = get_peft_model(model, config)
        for name, factors in present.items():
            layer = wrapped.base_model.model.get_submodule(name)
            for part, flat in ((layer.lora_A, factors.a), (layer.lora_B, factors.b)):
                weight = part["default"].weight
                weight.data.copy_(flat.reshape(weight.shape))
        # without a name PEFT takes the model's own, which may be a folder of this machine
        vars(wrapped.base_model.model)["name_or_path"] = published.name if published else None
        wrapped.peft_config["default"].base_model_name_or_path = (
            published.name if published else None
        )
        wrapped.peft_config["default"].task_type = published.task if published else None
        wrapped.save_pretrained(folder, save_embedding_layers=False)


def read_adapter(folder: Path, scaling: Mapping[str, float]) -> dict[str, Factors]:
    """Read a PEFT folder; its alpha / r is folded into ``b`` so that ``scaling`` holds.

    Slots are ordered by the size of their product, largest first, so that a client with
    few slots gets those that matter.

    Args:
        folder: of PEFT.
        scaling: module -> by what its product is multiplied here; 1 for those it lacks.

    Raises:
        AdapterError: not a LoRA folder with safetensors, a variant that is not plain LoRA
            (DoRA, rsLoRA), or tensors that would be left over.
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


def place_saved(given: Tensors, extras: Tensors) -> dict[str, Tensor]:
    """Put the saved parameters of an adapter in the place of a run's first extras.

    Raises:
        AdapterError: a parameter is not trained here, or its shape differs.
    """
    for name, tensor in given.items():
        if name not in extras:
            raise AdapterError(
                f"init_adapter has {name!r}, trained in full; the extras of this run are "
                f"{', '.join(extras) or 'none'}: see adapter.extras"
            )
        if tensor.shape != extras[name].shape:
            raise AdapterError(
                f"init_adapter, {name!r}: shape {tuple(tensor.shape)}, expected "
                f"{tuple(extras[name].shape)}"
            )
    return {n: given[n].to(t).clone() if n in given else t for n, t in extras.items()}


def place_adapter(given: Adapter, server: Adapter) -> dict[str, Factors]:
    """Put an adapter into the first slots of the server's; the other slots keep their start.

    In SVD form its slots have 1 as ``e``.

    Raises:
        AdapterError: a module is not adapted here, its size differs, or its rank is too large.
    """
    for name in given.keys() - server.keys():
        raise AdapterError(f"init_adapter has module {name!r}; this run adapts {', '.join(server)}")
    placed = dict(server)
    for name, new in given.items():
        old = server[name]
        sizes = (new.a.shape[1], new.b.shape[0]), (old.a.shape[1], old.b.shape[0])
        if sizes[0] != sizes[1]:
            raise AdapterError(
                f"init_adapter, module {name!r}: (d_in, d_out) {sizes[0]}, expected {sizes[1]}"
            )
        if new.rank > old.rank:
            raise AdapterError(
                f"init_adapter, module {name!r}: rank {new.rank} does not fit r_max {old.rank}"
            )
        a = torch.cat([new.a.to(old.a), old.a[new.rank :]])
        b = torch.cat([new.b.to(old.b), old.b[:, new.rank :]], dim=1)
        e = old.e if old.e is None else torch.cat([old.e.new_ones(new.rank, 1), old.e[new.rank :]])
        placed[name] = Factors(a, b, old.slots, e)
    return placed


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


def _pattern(values: Mapping[str, float]) -> dict[str, float]:
    return {f"^{re.escape(name)}$": value for name, value in values.items()}


def _padded(name: str, factors: Factors, rank: int) -> Factors:
    more = rank - factors.rank
    if more < 0:
        raise AdapterError(
            f"module {name!r} has rank {factors.rank}, which does not fit a padded rank of {rank}"
        )
    a = torch.cat([factors.a, factors.a.new_zeros(more, factors.a.shape[1])])
    b = torch.cat([factors.b, factors.b.new_zeros(factors.b.shape[0], more)], dim=1)
    return Factors(a, b, prefix(rank))


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
    if config.use_rslora:
        raise AdapterError(
            f"{folder}: expected LoRA scaled by alpha / r, got rsLoRA (use_rslora), scaled by "
            "alpha / sqrt(r): training would go on under another rule. Merge it into its base with "
            "PEFT's merge_and_unload() and start from the merged weights instead"
        )
    return config


def _check_names(folder: Path, field: str, patterns: Iterable[str]) -> None:
    """Refuse patterns that repeat or group: a search for one from elsewhere may never end."""
    for pattern in patterns:
        if _SEARCHING.search(_ESCAPED.sub("", pattern)):
            raise AdapterError(
                f"{folder}: {field}: expected names of modules, got the pattern {pattern[:80]!r}"
            )


def _scaling_of(config: LoraConfig, name: str, pair: Mapping[str, Tensor]) -> float:
    from peft.utils.other import get_pattern_key

    try:
        key = get_pattern_key(list(config.alpha_pattern), name)
    except re.error as error:
        raise AdapterError(f"alpha_pattern of the adapter, for module {name!r}: {error}") from error
    alpha = config.alpha_pattern.get(key, config.lora_alpha)
    rank = next(iter(pair.values())).shape[0 if "A" in pair else 1]
    return float(alpha / max(1, rank))


def _factors(weights: Path, name: str, pair: Mapping[str, Tensor], ratio: float) -> Factors:
    if pair.keys() != {"A", "B"} or pair["A"].shape[0] != pair["B"].shape[1]:
        shapes = {factor: tuple(tensor.shape) for factor, tensor in pair.items()}
        raise AdapterError(f"{weights}: module {name!r}: factors do not pair up: {shapes}")
    a, b = pair["A"].float(), pair["B"].float() * ratio
    order = torch.argsort(a.norm(dim=1) * b.norm(dim=0), descending=True, stable=True)
    return Factors(a[order], b[:, order], prefix(len(order)))


def _targets(model: nn.Module, present: Adapter) -> list[str] | str:
    """Full names; as one pattern where PEFT's match by ending would take more modules."""
    names = list(present)
    modules = [n for n, _ in model.named_modules()]
    if all(m in present for m in modules for n in names if m.endswith(f".{n}")):
        return names
    return "|".join(re.escape(name) for name in names)
