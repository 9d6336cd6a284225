"""SVD form in a model: the formula ``W + s b diag(e) a``, its gradients, and what it costs."""

import pytest
import torch
from torch import Tensor, nn
from torch.func import functional_call

from polyrank.lora.factors import A, B, Factors, Part, prefix
from polyrank.lora.factors import Adapter as FactorsByModule
from polyrank.lora.scaling import Scaling
from polyrank.models.cnn import cnn
from polyrank.models.mlp import mlp
from polyrank.peft_bridge import Bridge, find_extras, find_targets

SCALING = 0.5


def small_mlp() -> nn.Module:
    torch.manual_seed(1)
    return mlp(input_shape=(1, 4, 4), classes=3, hidden=(5,))


def small_cnn() -> nn.Module:
    torch.manual_seed(1)
    return cnn(input_shape=(3, 8, 8), classes=4, widths=(6, 7), dropout=0.0).eval()


MODELS = {
    "linear": (small_mlp, (9, 1, 4, 4)),
    "linear, padded": (small_mlp, (9, 1, 4, 4)),
    "convolution": (small_cnn, (5, 3, 8, 8)),
    "convolution, padded": (small_cnn, (5, 3, 8, 8)),
}
EITHER = pytest.mark.parametrize("kind", list(MODELS))


def wrapped(kind: str, extras: str = "none") -> Bridge:
    model = MODELS[kind][0]()
    shapes = find_targets(model, "all")
    scaling = dict.fromkeys(shapes, Scaling(SCALING))
    return Bridge(model, shapes, extras, scaling, pads=kind.endswith("padded"))


def buffers(kind: str) -> dict[str, Tensor]:
    model = MODELS[kind][0]()
    return find_extras(model, find_targets(model, "all"), "none")


def drawn(bridge: Bridge, rank: int, seed: int = 0) -> dict[str, Factors]:
    generator = torch.Generator().manual_seed(seed)
    return {
        name: Factors(
            torch.randn(rank + k, s.d_in, generator=generator),
            torch.randn(s.d_out, rank + k, generator=generator),
            prefix(rank + k),
            torch.randn(rank + k, 1, generator=generator),
        )
        for k, (name, s) in enumerate(bridge.shapes.items())
    }


def inputs(kind: str) -> Tensor:
    return torch.randn(MODELS[kind][1], generator=torch.Generator().manual_seed(3))


def dense(kind: str, leaves: dict[str, dict[str, Tensor]], x: Tensor) -> Tensor:
    """The plain model with ``W + s b diag(e) a`` for each weight, written out."""
    model = MODELS[kind][0]()
    weights = {}
    for name, t in leaves.items():
        weight = model.get_submodule(name).weight.detach()
        update = SCALING * t["b"] @ torch.diag(t["e"][:, 0]) @ t["a"]
        weights[f"{name}.weight"] = weight + update.reshape(weight.shape)
    return functional_call(model, weights, (x,))


def as_leaves(adapter: FactorsByModule) -> dict[str, dict[str, Tensor]]:
    return {
        m: {p.value: t.clone().requires_grad_() for p, t in f.tensors.items()}
        for m, f in adapter.items()
    }


@EITHER
def test_the_forward_pass_is_the_written_formula_also_after_a_change_of_rank(kind):
    bridge, x = wrapped(kind), inputs(kind)
    for rank in (4, 1, 20):
        adapter = drawn(bridge, rank)
        bridge.load(adapter, buffers(kind))
        expected = dense(kind, as_leaves(adapter), x)
        most = float((bridge.model(x) - expected).detach().abs().max())
        assert most <= 1e-5 * max(1.0, float(expected.detach().abs().max()))


@EITHER
def test_gradients_are_those_of_the_written_formula(kind):
    bridge, x = wrapped(kind), inputs(kind)
    adapter = drawn(bridge, 3)
    bridge.load(adapter, buffers(kind))
    leaves = as_leaves(adapter)
    dense(kind, leaves, x).logsumexp(1).sum().backward()
    bridge.model(x).logsumexp(1).sum().backward()
    assert len(bridge.trainable()) == 3 * len(adapter)
    for name, layer in bridge.layers.items():
        came = {
            "a": layer.lora_A["default"].weight,
            "b": layer.lora_B["default"].weight,
            "e": layer.lora_B["default"].e,
        }
        for part, parameter in came.items():
            wanted = leaves[name][part].grad
            gradient = parameter.grad.flatten(1)
            assert float((gradient - wanted).norm()) <= 1e-5 * float(wanted.norm())


@EITHER
def test_what_was_loaded_is_read_back_and_training_changes_every_factor(kind):
    bridge = wrapped(kind)
    adapter = drawn(bridge, 2)
    bridge.load(adapter, buffers(kind))
    for name, factors in bridge.read()[0].items():
        for part, tensor in factors.tensors.items():
            assert torch.equal(tensor, adapter[name].tensors[part])
    bridge.model(inputs(kind)).square().sum().backward()
    with torch.no_grad():
        for parameter in bridge.trainable():
            parameter -= 0.01 * parameter.grad
    for name, factors in bridge.read()[0].items():
        for part in Part:
            assert not torch.equal(factors.tensors[part], adapter[name].tensors[part])


def test_only_the_factors_that_are_named_are_trained():
    bridge = wrapped("linear")
    for trains, names in ((A | B, {"weight"}), (frozenset({Part.E}), {"e"})):
        bridge.load(drawn(bridge, 2), {}, trains=trains)
        owned = {id(p) for p in bridge.trainable()}
        found = {n.split(".")[-1] for n, p in bridge.model.named_parameters() if id(p) in owned}
        assert found == names


@EITHER
def test_slots_beside_those_that_train_have_their_own_numbers(kind):
    """Own and frozen slots together are the model with all slots; only the own ones train."""
    bridge, x = wrapped(kind), inputs(kind)
    whole = drawn(bridge, 3)
    own = {m: f.take(prefix(1)) for m, f in whole.items()}
    rest = {m: f.without(prefix(1)) for m, f in whole.items()}
    bridge.load(own, buffers(kind), frozen=rest)
    expected = dense(kind, as_leaves(whole), x)
    torch.testing.assert_close(bridge.model(x), expected, rtol=1e-4, atol=1e-4)
    trained = {id(p) for p in bridge.trainable()}
    names = {n for n, p in bridge.model.named_parameters() if id(p) in trained}
    assert len(names) == 3 * len(own)
    assert not [n for n in names if "frozen" in n]
    back = bridge.with_frozen(bridge.read()[0])
    assert all(torch.equal(back[m].e, f.e) for m, f in whole.items())


@EITHER
def test_the_merged_weights_are_the_written_formula(kind):
    bridge, x = wrapped(kind), inputs(kind)
    adapter = drawn(bridge, 3)
    bridge.load(adapter, buffers(kind))
    plain = MODELS[kind][0]()
    plain.load_state_dict(bridge.merged_weights())
    expected = dense(kind, as_leaves(adapter), x)
    torch.testing.assert_close(plain(x), expected, rtol=1e-4, atol=1e-4)


def test_a_penalty_gets_the_product_and_reaches_every_factor():
    bridge = wrapped("linear")
    adapter = drawn(bridge, 2)
    bridge.load(adapter, {})
    for (a, b), f in zip(bridge.factor_pairs(), adapter.values(), strict=True):
        torch.testing.assert_close(b @ a, f.b @ torch.diag(f.e[:, 0]) @ f.a)
    sum((b @ a).square().sum() for a, b in bridge.factor_pairs()).backward()
    assert all(p.grad is not None and p.grad.any() for p in bridge.trainable())


@EITHER
def test_in_plain_form_there_is_neither_a_number_nor_a_hook(kind):
    """Also after another form was loaded into the same model."""
    bridge = wrapped(kind)
    adapter = drawn(bridge, 2)
    bridge.load(adapter, buffers(kind))
    folded = {m: f.folded() for m, f in adapter.items()}
    bridge.load(folded, buffers(kind))
    assert len(bridge.trainable()) == 2 * len(adapter)
    for layer in bridge.layers.values():
        assert [n for n, _ in layer.lora_B["default"].named_parameters()] == ["weight"]
        assert not layer.lora_B["default"]._forward_pre_hooks
    expected = dense(kind, as_leaves(adapter), inputs(kind))
    torch.testing.assert_close(bridge.model(inputs(kind)), expected, rtol=1e-4, atol=1e-4)


def lora_numbers(layer: nn.Module) -> int:
    return sum(p.numel() for n, p in layer.named_parameters() if "lora_" in n)


@EITHER
@pytest.mark.parametrize("frozen", [False, True], ids=["own slots", "all slots"])
def test_a_module_without_slots_costs_its_base_layer_alone(kind, frozen):
    """None in memory, none to train, no product: the factors of the client before are gone."""
    bridge = wrapped(kind)
    adapter = drawn(bridge, 2)
    first, *others = adapter
    rest = {m: f.without(prefix(1)) for m, f in adapter.items()} if frozen else None
    bridge.load(adapter, buffers(kind), frozen=rest)
    left = {m: adapter[m] for m in others}
    bridge.load(left, buffers(kind), frozen={m: rest[m] for m in others} if rest else None)
    gone, calls = bridge.layers[first], []
    assert lora_numbers(gone) == 0
    assert not [p for p in gone.parameters() if p.requires_grad]
    for module in gone.modules():
        module.register_forward_hook(lambda module, *_: calls.append(module))
    bridge.model(inputs(kind))
    assert calls == [gone.get_base_layer(), gone]
    bridge.load(adapter, buffers(kind))
    assert lora_numbers(gone) == sum(t.numel() for t in adapter[first].tensors.values())
    expected = dense(kind, as_leaves(adapter), inputs(kind))
    torch.testing.assert_close(bridge.model(inputs(kind)), expected, rtol=1e-4, atol=1e-4)
