"""The head among the extras, and sums of its features as they travel."""

from collections.abc import Mapping

import torch
from torch import Tensor

from polyrank.errors import SettingsError
from polyrank.head_inits.head_init import FeatureSums
from polyrank.lora.factors import Tensors


def find_head(extras: Tensors, classes: int) -> str | None:
    """Return the name of the linear layer, trained in full, that gives the logits, if any."""
    found = [
        name.removesuffix(".weight")
        for name, tensor in extras.items()
        if name.endswith(".weight") and tensor.dim() == 2 and len(tensor) == classes
    ]
    return found[-1] if found else None


def head_of(extras: Tensors, classes: int, setting: str) -> str:
    """Return the name of the linear layer, trained in full, that gives the logits.

    Raises:
        SettingsError: there is none among the extras.
    """
    found = find_head(extras, classes)
    if found is None:
        raise SettingsError(
            f"head_init = {setting!r}: expected a last linear layer for {classes} labels that is "
            f"trained in full, got the extras {[*extras] or 'none'}; name it in adapter.extras"
        )
    return found


def packed(sums: FeatureSums) -> Tensors:
    """Pack feature sums for sending, without zeros and duplicates; see ``feature_sums``."""
    tensors = {"counts": sums.counts.long(), "sums": sums.sums[sums.counts > 0]}
    if sums.products is not None:
        d = len(sums.products)
        tensors["products"] = sums.products[tuple(torch.triu_indices(d, d))]
    return tensors


def unpacked(tensors: Mapping[str, Tensor]) -> FeatureSums:
    """Undo the packing of ``feature_sums``."""
    counts, present = tensors["counts"].double(), tensors["counts"] > 0
    sums = torch.zeros(len(counts), tensors["sums"].shape[1], dtype=torch.float64)
    sums[present] = tensors["sums"]
    if "products" not in tensors:
        return FeatureSums(counts, sums)
    d = sums.shape[1]
    upper = torch.zeros(d, d, dtype=torch.float64)
    upper[tuple(torch.triu_indices(d, d))] = tensors["products"]
    return FeatureSums(counts, sums, upper + upper.triu(1).T)
