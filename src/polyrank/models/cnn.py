"""Convolutional network of the RBLA experiments on CIFAR-10.

Chen et al., "RBLA: Rank-Based-LoRA-Aggregation for Fine-tuning Heterogeneous Models in
FLaaS", 2024, https://arxiv.org/abs/2408.08699
"""

from collections import OrderedDict

from torch import nn

from polyrank.errors import SettingsError


def cnn(
    *,
    input_shape: tuple[int, ...],
    classes: int,
    widths: tuple[int, ...] = (32, 64, 128),
    dropout: float = 0.25,
) -> nn.Sequential:
    """Build blocks of two 3x3 convolutions with batch norm, pooling and dropout, then a head.

    Modules are named ``block1.conv1``, ``block1.conv2``, ``block2.conv1``, ..., ``head``.

    Args:
        input_shape: (channels, height, width).
        classes: number of labels.
        widths: channels of each block; each block halves height and width.
        dropout: probability after each block.

    Raises:
        SettingsError: the examples are not images, or too small for that many blocks.
    """
    if len(input_shape) != 3:
        raise SettingsError(f"cnn expects images (channels, height, width), got {input_shape}")
    channels, height, width = input_shape
    if min(height, width) < 2 ** len(widths):
        raise SettingsError(
            f"cnn: {len(widths)} blocks halve {height}x{width} images below one pixel; "
            f"give fewer widths"
        )
    blocks: OrderedDict[str, nn.Module] = OrderedDict()
    for number, out in enumerate(widths, start=1):
        blocks[f"block{number}"] = _block(channels, out, dropout)
        channels = out
    blocks["pool"] = nn.AdaptiveAvgPool2d(1)
    blocks["flatten"] = nn.Flatten()
    blocks["head"] = nn.Linear(channels, classes)
    return nn.Sequential(blocks)


def _block(channels: int, out: int, dropout: float) -> nn.Sequential:
    layers = OrderedDict[str, nn.Module](
        conv1=nn.Conv2d(channels, out, 3, padding=1),
        norm1=nn.BatchNorm2d(out),
        relu1=nn.ReLU(),
        conv2=nn.Conv2d(out, out, 3, padding=1),
        norm2=nn.BatchNorm2d(out),
        relu2=nn.ReLU(),
        pool=nn.MaxPool2d(2),
        dropout=nn.Dropout(dropout),
    )
    return nn.Sequential(layers)
