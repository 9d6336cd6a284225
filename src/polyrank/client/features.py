"""Sum the inputs of the head's last linear layer over a client's rows."""

import torch
from torch import Tensor, nn

from polyrank.errors import DataError
from polyrank.head_inits.feature_sums import packed
from polyrank.head_inits.head_init import FeatureSums
from polyrank.inputs.arrays import ExampleSet, Inputs
from polyrank.learning.forward import answers, casting
from polyrank.lora.factors import Tensors


def feature_sums(
    model: nn.Module,
    head: str,
    examples: ExampleSet,
    rows: Tensor,
    classes: int,
    *,
    products: bool,
    autocast: str = "none",
) -> Tensors:
    """Sum up the inputs of the layer ``head`` over some rows, in evaluation mode.

    Of inputs with one vector for each token, the last token's counts, as in the models of
    transformers that classify by it.

    Returns:
        ``counts`` (classes,) int64; ``sums`` (k, d) float64 of the k labels that have rows;
        and with ``products`` the upper triangle (d (d + 1) / 2,) of theirs.

    Raises:
        DataError: there are no rows.
    """
    seen: list[Tensor] = []
    layer = model.get_submodule(head)
    handle = layer.register_forward_pre_hook(lambda module, given: seen.append(given[0]))
    device = next(layer.parameters()).device
    total: FeatureSums | None = None
    model.eval()
    try:
        with torch.inference_mode():
            for places in examples.blocks(rows):
                inputs, labels = examples.batch(places)
                with casting(autocast, device):
                    answers(model, inputs, device)
                features = _last(seen.pop(), inputs).cpu().double()
                part = _summed(features, labels, classes, products=products)
                total = part if total is None else total + part
    finally:
        handle.remove()
    if total is None:
        raise DataError("expected rows to measure features on, got none")
    return packed(total)


def _summed(features: Tensor, labels: Tensor, classes: int, *, products: bool) -> FeatureSums:
    sums = torch.zeros(classes, features.shape[1], dtype=torch.float64)
    return FeatureSums(
        torch.bincount(labels, minlength=classes).double(),
        sums.index_add_(0, labels, features),
        features.T @ features if products else None,
    )


def _last(features: Tensor, inputs: Inputs) -> Tensor:
    """Return one feature an example (n, d), the last token's of (n, t, d)."""
    if features.dim() == 2 or isinstance(inputs, Tensor):
        return features
    last = inputs["attention_mask"].sum(1) - 1
    return features[torch.arange(len(last)), last]
