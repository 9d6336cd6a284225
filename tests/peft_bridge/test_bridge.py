import pytest
import torch
from torch import nn

from polyrank.errors import AdapterError, SettingsError
from polyrank.lora.factors import B, Factors, Part, prefix
from polyrank.lora.scaling import Scaling
from polyrank.models.cnn import cnn
from polyrank.models.mlp import mlp
from polyrank.peft_bridge import Bridge, find_extras, find_targets


def wrapped(model: nn.Module, extras: str | list[str] = "all") -> Bridge:
    shapes = find_targets(model, "all")
    return Bridge(model, shapes, extras, dict.fromkeys(shapes, Scaling(0.5)))


def random_adapter(bridge: Bridge, ranks: dict[str, int]) -> dict[str, Factors]:
    generator = torch.Generator().manual_seed(0)
    return {
        name: Factors(
            torch.randn(ranks[name], shape.d_in, generator=generator),
            torch.randn(shape.d_out, ranks[name], generator=generator),
            prefix(ranks[name]),
        )
        for name, shape in bridge.shapes.items()
    }


def small_mlp() -> nn.Module:
    torch.manual_seed(1)
    return mlp(input_shape=(1, 4, 4), classes=3, hidden=(5,))


def small_cnn() -> nn.Module:
    torch.manual_seed(1)
    return cnn(input_shape=(3, 8, 8), classes=4, widths=(6, 7), dropout=0.0)


@pytest.mark.parametrize("ranks", [(2, 3), (16, 1), (40, 20)], ids=str)
def test_forward_of_a_linear_model_is_the_written_formula(ranks):
    """Also at ranks above min(d_in, d_out), and after a change of rank."""
    base = small_mlp()
    plain = {n: p.detach().clone() for n, p in base.named_parameters()}
    bridge = wrapped(base)
    extras = find_extras(small_mlp(), bridge.shapes, "all")
    bridge.load(random_adapter(bridge, {"fc1": 1, "fc2": 1}), extras)
    adapter = random_adapter(bridge, dict(zip(("fc1", "fc2"), ranks, strict=True)))
    bridge.load(adapter, extras)
    x = torch.randn(9, 1, 4, 4)
    hidden = x.flatten(1)
    for name in ("fc1", "fc2"):
        f = adapter[name]
        weight = plain[f"{name}.weight"] + 0.5 * f.b @ f.a
        hidden = hidden @ weight.T + plain[f"{name}.bias"]
        hidden = hidden.relu() if name == "fc1" else hidden
    torch.testing.assert_close(bridge.model(x), hidden, rtol=1e-4, atol=1e-4)


def test_forward_of_a_convolution_is_that_of_the_merged_weight():
    bridge = wrapped(small_cnn())
    extras = find_extras(small_cnn(), bridge.shapes, "all")
    ranks = {name: 2 + i for i, name in enumerate(bridge.shapes)}
    bridge.load(random_adapter(bridge, ranks), extras)
    plain = small_cnn()
    plain.load_state_dict(bridge.merged_weights())
    x = torch.randn(5, 3, 8, 8)
    bridge.model.eval()
    torch.testing.assert_close(bridge.model(x), plain.eval()(x), rtol=1e-3, atol=1e-2)


def test_a_module_without_slots_is_the_frozen_base_and_not_trained():
    bridge = wrapped(small_mlp(), extras="none")
    adapter = random_adapter(bridge, {"fc1": 2, "fc2": 2})
    bridge.load({"fc2": adapter["fc2"]}, {})
    assert len(bridge.trainable()) == 2
    alone = bridge.merged_weights()
    assert torch.equal(alone["fc1.weight"], small_mlp().fc1.weight)
    assert list(bridge.read()[0]) == ["fc2"]
    bridge.load(adapter, {})
    assert len(bridge.trainable()) == 4


def test_what_was_loaded_is_read_back_to_the_bit_and_training_does_not_touch_it():
    bridge = wrapped(small_cnn())
    extras = find_extras(small_cnn(), bridge.shapes, "all")
    adapter = random_adapter(bridge, dict.fromkeys(bridge.shapes, 3))
    before = {n: f.a.clone() for n, f in adapter.items()}, {n: t.clone() for n, t in extras.items()}
    bridge.load(adapter, extras)
    read, read_extras = bridge.read()
    assert all(
        torch.equal(read[n].a, f.a) and torch.equal(read[n].b, f.b) for n, f in adapter.items()
    )
    assert all(torch.equal(read_extras[n], t) for n, t in extras.items())
    bridge.model.train()
    bridge.model(torch.randn(4, 3, 8, 8)).sum().backward()
    with torch.no_grad():
        for parameter in bridge.trainable():
            parameter -= parameter.grad
    assert not torch.equal(bridge.read()[0]["head"].a, before[0]["head"])
    assert int(bridge.read()[1]["block1.norm1.num_batches_tracked"]) == 1
    assert all(torch.equal(adapter[n].a, a) for n, a in before[0].items())
    assert all(torch.equal(extras[n], t) for n, t in before[1].items())


def test_modules_have_the_order_of_the_model_whatever_order_they_came_in():
    """A message has its tensors in any order; the sum of a penalty over modules has one."""
    bridge = wrapped(small_cnn(), extras="none")
    extras = find_extras(small_cnn(), bridge.shapes, "none")
    adapter = random_adapter(bridge, dict.fromkeys(bridge.shapes, 2))
    for order in (adapter, dict(reversed(adapter.items()))):
        bridge.load(order, extras)
        assert list(bridge.read()[0]) == list(bridge.loaded) == list(bridge.shapes)
        for (a, _), name in zip(bridge.factor_pairs(), bridge.shapes, strict=True):
            assert torch.equal(a, adapter[name].a)


def test_nothing_but_factors_and_extras_is_trained():
    bridge = wrapped(small_mlp(), extras=["*.bias"])
    bridge.load(
        random_adapter(bridge, {"fc1": 2, "fc2": 2}),
        find_extras(small_mlp(), bridge.shapes, ["*.bias"]),
    )
    shapes = sorted(tuple(p.shape) for p in bridge.trainable())
    assert shapes == sorted([(2, 16), (5, 2), (2, 5), (3, 2), (5,), (3,)])


def test_unknown_modules_and_missing_extras_are_errors():
    bridge = wrapped(small_mlp())
    adapter = random_adapter(bridge, {"fc1": 1, "fc2": 1})
    with pytest.raises(AdapterError, match="'fc9'"):
        bridge.load({"fc9": adapter["fc1"]}, {})
    with pytest.raises(AdapterError, match=r"missing \['fc1.bias', 'fc2.bias'\]"):
        bridge.load(adapter, {})


@pytest.mark.parametrize(
    ("targets", "found"),
    [("all", ["fc1", "fc2"]), (["fc2"], ["fc2"]), ("fc*", ["fc1", "fc2"])],
)
def test_targets_by_name_and_pattern(targets, found):
    assert list(find_targets(small_mlp(), targets)) == found


def test_targets_that_fit_nothing_name_what_there_is():
    with pytest.raises(SettingsError, match=r"'fc7'.*fc1, fc2"):
        find_targets(small_mlp(), ["fc7"])


def test_grouped_convolutions_are_refused_with_the_reason():
    model = nn.Sequential(nn.Conv2d(4, 4, 3, groups=2))
    with pytest.raises(SettingsError, match="2 groups"):
        find_targets(model, "all")


@pytest.mark.parametrize(
    ("options", "told"),
    [({"dilation": (1, 2)}, r"dilation \(1, 2\)"), ({"padding_mode": "reflect"}, "'reflect'")],
)
def test_convolutions_that_pefts_lora_does_otherwise_are_refused(options, told):
    model = nn.Sequential(nn.Conv2d(4, 4, 3, padding=1, **options))
    with pytest.raises(SettingsError, match=f"'0'.*{told}.*name other modules"):
        find_targets(model, "all")


def test_slots_that_are_loaded_as_frozen_are_not_trained():
    bridge = wrapped(small_mlp())
    both = random_adapter(bridge, {"fc1": 3, "fc2": 3})
    own = {m: f.take(prefix(1)) for m, f in both.items()}
    extras = {n: t.detach().clone() for n, t in bridge._extras().items()}
    bridge.load(own, extras, frozen={m: f.without(prefix(1)) for m, f in both.items()})
    trained = {id(p) for p in bridge.trainable()}
    names = [n for n, p in bridge.model.named_parameters() if id(p) in trained and ".lora_" in n]
    assert sorted(names) == [f"fc{k}.lora_{part}.default.weight" for k in (1, 2) for part in "AB"]


def test_trained_parts_are_the_parameters_that_training_changes():
    """Of a convolution as they are in the layer; none of a module without slots."""
    bridge = wrapped(small_cnn())
    extras = find_extras(small_cnn(), bridge.shapes, "all")
    names = list(bridge.shapes)
    ranks = dict.fromkeys(names, 2) | {names[1]: 0}
    bridge.load(random_adapter(bridge, ranks), extras)
    found = bridge.trained_parts()
    assert found.keys() == bridge.read()[0].keys() == set(names) - {names[1]}
    lora = {id(p) for n, p in bridge.model.named_parameters() if ".lora_" in n and p.requires_grad}
    parts = [(part, p) for of in found.values() for part, p in of.items()]
    assert {id(p) for _, p in parts} == {id(p) for p in bridge.trainable()} & lora
    assert all(p.shape[part.axis] == 2 for part, p in parts)
    bridge.load(random_adapter(bridge, ranks), extras, trains=B)
    assert {part for of in bridge.trained_parts().values() for part in of} == {Part.B}
