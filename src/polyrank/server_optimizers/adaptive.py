"""Adaptive server optimisers (FedAdam, FedYogi).

Reddi et al., "Adaptive Federated Optimization", 2021, https://arxiv.org/abs/2003.00295,
algorithm 2; second moments start at tau squared, without bias correction, as there.
"""

from collections.abc import Callable

from torch import Tensor

from polyrank.errors import SettingsError
from polyrank.server_optimizers.optimizer import ServerOptimizer


def fedadam(
    *,
    learning_rate: float = 0.01,
    momentum: float = 0.9,
    second_momentum: float = 0.99,
    tau: float = 0.001,
) -> ServerOptimizer:
    """Scale each step by the mean of its squares: ``v = beta v + (1 - beta) d²``.

    Args:
        learning_rate: of the server, above 0.
        momentum: beta 1, at least 0 and below 1.
        second_momentum: beta 2, at least 0 and below 1.
        tau: above 0; the smaller, the more adaptive.

    Raises:
        SettingsError: an option is out of its range.
    """

    def adam(v: Tensor, squared: Tensor) -> Tensor:
        return second_momentum * v + (1 - second_momentum) * squared

    return _adaptive("fedadam", learning_rate, momentum, second_momentum, tau, adam)


def fedyogi(
    *,
    learning_rate: float = 0.01,
    momentum: float = 0.9,
    second_momentum: float = 0.99,
    tau: float = 0.001,
) -> ServerOptimizer:
    """As FedAdam, with second moments that change slowly: ``v - (1 - beta) d² sign(v - d²)``.

    Args:
        learning_rate: of the server, above 0.
        momentum: beta 1, at least 0 and below 1.
        second_momentum: beta 2, at least 0 and below 1.
        tau: above 0; the smaller, the more adaptive.

    Raises:
        SettingsError: an option is out of its range.
    """

    def yogi(v: Tensor, squared: Tensor) -> Tensor:
        return v - (1 - second_momentum) * squared * (v - squared).sign()

    return _adaptive("fedyogi", learning_rate, momentum, second_momentum, tau, yogi)


def _adaptive(
    name: str,
    learning_rate: float,
    momentum: float,
    second_momentum: float,
    tau: float,
    second: Callable[[Tensor, Tensor], Tensor],
) -> ServerOptimizer:
    for option, value in (("momentum", momentum), ("second_momentum", second_momentum)):
        if not 0 <= value < 1:
            raise SettingsError(f"{name}: expected 0 <= {option} < 1, got {value}")
    for option, value in (("learning_rate", learning_rate), ("tau", tau)):
        if value <= 0:
            raise SettingsError(f"{name}: expected {option} > 0, got {value}")
    return ServerOptimizer(learning_rate, momentum, gain=1 - momentum, second=second, tau=tau)
