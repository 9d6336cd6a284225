"""A run that takes a second: 180 digits, four clients, tiny ranks."""

from typing import Any

from polyrank.settings.schema import Settings
from polyrank.settings.toml import make_settings


def tiny_digits(argument: str) -> Any:
    """A data set for ``data = "tests.small:tiny_digits"``: every tenth digit."""
    from dataclasses import replace

    from polyrank.datasets.digits import digits

    data = digits(argument)
    return replace(data, train_x=data.train_x[::10], train_y=data.train_y[::10])


def small(**changes: Any) -> Settings:
    document: dict[str, Any] = {
        "name": "small",
        "rounds": 3,
        "data": "tests.small:tiny_digits",
        "partition": {"kind": "double_imbalance", "clients": 4},
        "model": {"kind": "mlp", "hidden": [16]},
        "ranks": {"r_min": 1, "r_max": 6},
        "aggregator": "rbla",
        "training": {"epochs": 1, "batch_size": 16, "learning_rate": 0.01},
    }
    for key, value in changes.items():
        old = document.get(key)
        both = isinstance(old, dict) and isinstance(value, dict) and "kind" not in value
        document[key] = {**old, **value} if both else value
    return make_settings(document)
