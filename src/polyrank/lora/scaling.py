"""By what a module's product is multiplied, where it may depend on the rank.

Hu et al., "LoRA: Low-Rank Adaptation of Large Language Models", 2021,
https://arxiv.org/abs/2106.09685: alpha / r; Kalajdzievski, "A Rank Stabilization Scaling Factor
for Fine-Tuning with LoRA", 2023, https://arxiv.org/abs/2312.03732: alpha / sqrt(r).
"""

import math
from dataclasses import dataclass
from typing import Literal, TypeAlias

Per: TypeAlias = Literal["constant", "rank", "sqrt_rank"]

DIVISORS = {"constant": lambda rank: 1.0, "rank": float, "sqrt_rank": math.sqrt}


@dataclass(frozen=True)
class Scaling:
    """The scaling of one module.

    Args:
        alpha: above 0.
        per: by what alpha is divided: 1, the rank, or its root.
        slots: of the server.
        one_unit: outside of training, factors of any rank stand for their product at the server's
            scaling, so that their product is the same wherever they are. Without it they are as
            training has them, and their product is another one under another rank.
    """

    alpha: float = 1.0
    per: Per = "constant"
    slots: int = 1
    one_unit: bool = False

    def training(self, rank: int) -> float:
        """Return by what a product of ``rank`` slots is multiplied in a model.

        Example:
            >>> Scaling(2.0, "rank").training(16)
            0.125
        """
        return self.alpha / DIVISORS[self.per](max(1, rank))

    def stored(self, rank: int) -> float:
        """Return by what the product of ``rank`` slots is multiplied that were sent or saved."""
        return self.training(self.slots if self.one_unit else rank)

    @property
    def server(self) -> float:
        """Return by what the product of all the server's slots is multiplied."""
        return self.training(self.slots)
