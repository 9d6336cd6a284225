"""The default where gradients are large: inputs eight times too large, and a large rate."""

from dataclasses import replace

import pytest

import polyrank
from polyrank.datasets.digits import digits
from polyrank.errors import QuorumError


def loud(argument):
    data = digits(argument)
    return replace(data, train_x=data.train_x * 8, test_x=data.test_x * 8)


STEEP = {
    "data": "tests.runs.test_steep:loud",
    "partition": {"kind": "dirichlet", "clients": 5, "concentration": 0.5},
    "model": {"kind": "mlp", "hidden": [64, 64]},
    "ranks": {"r_min": 2, "r_max": 16, "budget": 6},
    "rounds": 5,
    "training": {"optimizer": "sgd", "momentum": 0.9, "learning_rate": 0.1, "epochs": 2},
    "workers": 1,
}


def test_the_bound_of_the_default_lets_clients_learn_where_they_would_diverge(tmp_path):
    learnt = polyrank.run(STEEP, out=tmp_path / "bounded").summary["accuracy"]["final"]
    assert learnt > 0.7
    with pytest.raises(QuorumError, match=r"training diverged at learning rate 0\.1"):
        polyrank.run(STEEP, overrides=["training.clip_norm=0"], out=tmp_path / "free")
