"""Write a PEFT adapter folder that stands for our adapter."""

import re
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from polyrank.errors import AdapterError
from polyrank.lora.factors import Adapter, Factors, Tensors, prefix


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


def _targets(model: nn.Module, present: Adapter) -> list[str] | str:
    """Full names; as one pattern where PEFT's match by ending would take more modules."""
    names = list(present)
    modules = [n for n, _ in model.named_modules()]
    if all(m in present for m in modules for n in names if m.endswith(f".{n}")):
        return names
    return "|".join(re.escape(name) for name in names)
