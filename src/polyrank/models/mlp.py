"""Multilayer perceptron, by default the 784-200-200-10 network of AutoRank and RBLA.

Chen et al., "RBLA: Rank-Based-LoRA-Aggregation for Fine-tuning Heterogeneous Models in
FLaaS", 2024, https://arxiv.org/abs/2408.08699
"""

import math
from collections import OrderedDict
from itertools import pairwise

from torch import nn


def mlp(
    *, input_shape: tuple[int, ...], classes: int, hidden: tuple[int, ...] = (200, 200)
) -> nn.Sequential:
    """Build linear layers ``fc1``, ``fc2``, ... with ReLU between; the input is flattened.

    Args:
        input_shape: shape of one example.
        classes: number of labels.
        hidden: widths of the hidden layers.
    """
    widths = [math.prod(input_shape), *hidden, classes]
    layers: OrderedDict[str, nn.Module] = OrderedDict(flatten=nn.Flatten())
    for number, (d_in, d_out) in enumerate(pairwise(widths), start=1):
        layers[f"fc{number}"] = nn.Linear(d_in, d_out)
        if number < len(widths) - 1:
            layers[f"relu{number}"] = nn.ReLU()
    return nn.Sequential(layers)
