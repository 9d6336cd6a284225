"""Momentum on the server (FedAvgM).

Hsu, Qi, Brown, "Measuring the Effects of Non-Identical Data Distribution for Federated Visual
Classification", 2019, https://arxiv.org/abs/1909.06335
"""

from polyrank.errors import SettingsError
from polyrank.server_optimizers.optimizer import ServerOptimizer


def fedavgm(*, momentum: float = 0.5, learning_rate: float = 1.0) -> ServerOptimizer:
    """Let each round's step go on in the next ones: ``m = momentum m + d; x = x + rate m``.

    Args:
        momentum: at least 0 and below 1. A constant step ends up ``1 / (1 - momentum)`` times
            as large; with 0.9 and small cohorts that has been seen to diverge.
        learning_rate: of the server, above 0.

    Raises:
        SettingsError: an option is out of its range.
    """
    if not 0 <= momentum < 1:
        raise SettingsError(f"fedavgm: expected 0 <= momentum < 1, got {momentum}")
    if learning_rate <= 0:
        raise SettingsError(f"fedavgm: expected learning_rate > 0, got {learning_rate}")
    return ServerOptimizer(learning_rate, momentum, gain=1.0)
