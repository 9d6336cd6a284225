"""Against the same rules written out densely, number by number, in float64."""

import numpy as np
import pytest
import torch

from polyrank.aggregators.aggregator import ServerModel, unchanged
from polyrank.errors import SettingsError
from polyrank.lora.factors import Factors
from polyrank.server_optimizers import SERVER_OPTIMIZERS
from polyrank.server_optimizers.optimizer import advance
from tests.server_optimizers.optimizer_problems import (
    D_IN,
    D_OUT,
    SLOTS,
    aggregator,
    model,
    optimizer,
)

RULES = [n for n in SERVER_OPTIMIZERS if n != "none"]


def product(m):
    return (m.adapter["fc"].b @ m.adapter["fc"].a).numpy()


class Written:
    """The three rules as their papers write them; ``mean``: one second moment for all numbers."""

    def __init__(self, name, start, *, mean=False):
        self.name, self.x, self.mean = name, start.copy(), mean
        self.m, self.v = 0.0, 0.001**2

    def step(self, target):
        d = target - self.x
        if self.name == "fedavgm":
            self.m = 0.5 * self.m + d
            self.x = self.x + self.m
            return self.x
        self.m = 0.9 * self.m + 0.1 * d
        squared = np.mean(d**2) if self.mean else d**2
        if self.name == "fedadam":
            self.v = 0.99 * self.v + 0.01 * squared
        else:
            self.v = self.v - 0.01 * squared * np.sign(self.v - squared)
        self.x = self.x + 0.01 * self.m / (np.sqrt(self.v) + 0.001)
        return self.x


@pytest.mark.parametrize("name", RULES)
def test_factors_and_extras_move_number_by_number(name):
    current, memory = model(0), {}
    written = {
        part: Written(name, getattr(current.adapter["fc"], part).numpy()) for part in ("a", "b")
    }
    bias = Written(name, current.extras["bias"].numpy())
    for seed in range(1, 6):
        target = model(seed)
        current, memory = advance(
            optimizer(name), memory, current, target, aggregator("zero_padding")
        )
        for part, rule in written.items():
            came = getattr(current.adapter["fc"], part)
            np.testing.assert_allclose(came, rule.step(getattr(target.adapter["fc"], part).numpy()))
        np.testing.assert_allclose(current.extras["bias"], bias.step(target.extras["bias"].numpy()))
        assert current.extras["count"] == seed


@pytest.mark.parametrize("name", RULES)
def test_the_third_factor_moves_number_by_number(name):
    """As the last column of a would."""

    def wide(m):
        f = m.adapter["fc"]
        return ServerModel({"fc": Factors(torch.cat([f.a, f.e], dim=1), f.b, f.slots)}, {})

    def in_svd_form(seed):
        f = model(seed).adapter["fc"]
        e = torch.randn(SLOTS, 1, generator=torch.Generator().manual_seed(seed)).double()
        return ServerModel({"fc": Factors(f.a, f.b, f.slots, e)}, {})

    method = aggregator("rbla")
    current, memory = in_svd_form(0), {}
    plain, plain_memory = wide(current), {}
    for seed in range(1, 4):
        target = in_svd_form(seed)
        current, memory = advance(optimizer(name), memory, current, target, method)
        plain, plain_memory = advance(optimizer(name), plain_memory, plain, wide(target), method)
        torch.testing.assert_close(wide(current).adapter["fc"].a, plain.adapter["fc"].a)
        torch.testing.assert_close(current.adapter["fc"].b, plain.adapter["fc"].b)


@pytest.mark.parametrize("name", RULES)
@pytest.mark.parametrize("method", ["flexlora", "anchored", "raflora"])
def test_decomposed_methods_move_in_the_product(name, method):
    """Five slots hold every product here, so that nothing is cut off."""
    current, memory = model(0), {}
    written = Written(name, product(current), mean=True)
    for seed in range(1, 6):
        target = model(seed)
        current, memory = advance(optimizer(name), memory, current, target, aggregator(method))
        np.testing.assert_allclose(product(current), written.step(product(target)), atol=1e-9)


@pytest.mark.parametrize("name", RULES)
def test_where_the_base_changes_base_and_product_move_together(name):
    """The factors stay as they were aggregated; the base takes up the rest."""
    start = model(0)
    current, memory = ServerModel(start.adapter, start.extras, unchanged(start.adapter)), {}
    written = Written(name, product(current), mean=True)
    for seed in range(1, 6):
        moved = torch.randn(
            D_OUT, D_IN, generator=torch.Generator().manual_seed(-seed % 97)
        ).double()
        target = model(seed, base=current.base.stepped({"fc": (moved,)}))
        wanted = written.step(product(target) + target.base.totals["fc"].numpy())
        current, memory = advance(optimizer(name), memory, current, target, aggregator("fedex"))
        assert torch.equal(current.adapter["fc"].a, target.adapter["fc"].a)
        assert current.base.version == seed
        found = product(current) + current.base.totals["fc"].numpy()
        np.testing.assert_allclose(found, wanted, atol=1e-9)


def test_a_factor_that_the_round_did_not_touch_keeps_its_value():
    """RoLoRA's clients that hold it are not sent it again."""
    rule, method = optimizer("fedavgm", momentum=0.9), aggregator("rolora")
    first, second = model(0), model(1)
    current, memory = advance(rule, {}, first, second, method)
    resting = current.adapter["fc"]
    only_b = Factors(resting.a, second.adapter["fc"].b, resting.slots)
    current, _ = advance(rule, memory, current, ServerModel({"fc": only_b}, second.extras), method)
    assert torch.equal(current.adapter["fc"].a, resting.a)
    assert not torch.equal(current.adapter["fc"].b, only_b.b)


@pytest.mark.parametrize("name", RULES)
def test_slots_that_the_round_did_not_change_keep_value_and_memory(name):
    """Slots 3 and 4 have no owner in rounds 2 to 4; in round 5 they go on from where they were."""
    rule, method, memory = optimizer(name), aggregator("rbla"), {}
    current, memory = advance(rule, memory, model(0), model(1), method)
    before, kept = current.adapter["fc"], memory
    for seed in range(2, 5):
        new, old = model(seed).adapter["fc"], current.adapter["fc"]
        a, b = torch.cat([new.a[:3], old.a[3:]]), torch.cat([new.b[:, :3], old.b[:, 3:]], dim=1)
        target = ServerModel({"fc": Factors(a, b, new.slots)}, model(seed).extras)
        current, memory = advance(rule, memory, current, target, method)
        assert torch.equal(current.adapter["fc"].a[3:], before.a[3:])
        assert torch.equal(current.adapter["fc"].b[:, 3:], before.b[:, 3:])
        assert not torch.equal(current.adapter["fc"].a[:3], old.a[:3])
    for key in (k for k in memory if k.startswith(("m/fc", "v/fc"))):
        assert torch.equal(memory[key][3:], kept[key][3:])
        assert not torch.equal(memory[key][:3], kept[key][:3])


@pytest.mark.parametrize("name", RULES)
def test_buffers_become_what_was_aggregated(name):
    current, memory = model(0), {}
    for seed in range(1, 4):
        target = model(seed)
        current, memory = advance(
            optimizer(name), memory, current, target, aggregator("rbla"), buffers={"bias"}
        )
        assert torch.equal(current.extras["bias"], target.extras["bias"])
    assert not [key for key in memory if "bias" in key]


@pytest.mark.parametrize(
    ("name", "options", "said"),
    [
        ("fedavgm", {"momentum": 1.0}, "fedavgm: expected 0 <= momentum < 1, got 1.0"),
        ("fedavgm", {"learning_rate": 0.0}, "fedavgm: expected learning_rate > 0, got 0.0"),
        ("fedadam", {"tau": 0.0}, "fedadam: expected tau > 0, got 0.0"),
        ("fedyogi", {"second_momentum": -0.1}, "fedyogi: expected 0 <= second_momentum < 1"),
    ],
)
def test_impossible_options_are_named(name, options, said):
    with pytest.raises(SettingsError, match=said):
        optimizer(name, **options)
