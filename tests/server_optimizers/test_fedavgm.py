"""Momentum on the server."""

import math

import torch

from polyrank.aggregators.aggregator import ServerModel
from polyrank.server_optimizers.optimizer import advance
from tests.server_optimizers.optimizer_problems import (
    aggregator,
    model,
    optimizer,
)


def test_no_momentum_at_rate_1_is_the_aggregated_model():
    rule = optimizer("fedavgm", momentum=0.0)
    result, _ = advance(rule, {}, model(0), model(1), aggregator("rbla"))
    torch.testing.assert_close(result.adapter["fc"].a, model(1).adapter["fc"].a)


def test_a_constant_step_grows_to_one_over_one_minus_momentum():
    """d stays 1: steps 1, 1.5, 1.75, ... towards 2."""
    rule, method, memory = optimizer("fedavgm", momentum=0.5), aggregator("rbla"), {}
    x, steps = 0.0, []
    for _ in range(20):
        models = [
            ServerModel({}, {"x": torch.tensor([value], dtype=torch.float64)})
            for value in (x, x + 1)
        ]
        result, memory = advance(rule, memory, *models, method)
        steps.append(float(result.extras["x"]) - x)
        x = float(result.extras["x"])
    assert steps[:3] == [1.0, 1.5, 1.75]
    assert math.isclose(steps[-1], 2.0, rel_tol=1e-5)
