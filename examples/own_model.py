"""A model of one's own, pre-trained on a public share of the data, then adapted.

python examples/own_model.py
"""

import torch
from torch import nn

import polyrank


class Residual(nn.Module):
    """Two linear layers around a residual block."""

    def __init__(self, pixels: int, width: int, classes: int) -> None:
        super().__init__()
        self.into = nn.Linear(pixels, width)
        self.block = nn.Linear(width, width)
        self.head = nn.Linear(width, classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return logits (n, classes)."""
        x = self.into(x.flatten(1)).relu()
        return self.head(x + self.block(x).relu())


def residual(*, input_shape: tuple[int, ...], classes: int, width: int = 64) -> nn.Module:
    """Build the model; the first two arguments come from the data, ``width`` is an option."""
    return Residual(torch.Size(input_shape).numel(), width, classes)


if __name__ == "__main__":
    result = polyrank.run(
        {
            "name": "own-model",
            "rounds": 3,
            "partition": {"kind": "dirichlet", "clients": 5, "concentration": 0.3},
            "model": {"kind": residual, "width": 32},
            "pretrain": {"share": 0.2, "epochs": 10},
            "adapter": {"targets": ["into", "block"], "extras": ["head.*"]},
        }
    )
    print(f"accuracy {result.summary['accuracy']['final']:.3f}, report in {result.folder}")
