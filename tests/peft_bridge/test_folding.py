"""Convolutions with their factors in the weight: the map and the gradients of PEFT's layers."""

import pytest
import torch
from torch import Tensor, nn

from polyrank.lora.factors import Factors, prefix
from polyrank.lora.scaling import Scaling
from polyrank.peft_bridge import Bridge, find_extras, find_targets
from polyrank.peft_bridge.folding import fold

SHAPE = (4, 3, 9, 7)


def small() -> nn.Module:
    torch.manual_seed(1)
    model = nn.Sequential(
        nn.Conv2d(3, 6, 3, padding="same"),
        nn.ReLU(),
        nn.Conv2d(6, 5, (3, 2), stride=2, padding=1, bias=False),
        nn.Conv2d(5, 4, 1),
        nn.Flatten(),
        nn.Linear(80, 3),
    )
    return model.to(memory_format=torch.channels_last)


def wrapped(*, folds: bool) -> Bridge:
    model = small()
    shapes = find_targets(model, "all")
    bridge = Bridge(model, shapes, "all", dict.fromkeys(shapes, Scaling(0.5)))
    for layer in bridge.layers.values() if folds else ():
        fold(layer)
    return bridge


def drawn(bridge: Bridge, rank: int, *, diagonal: bool = False) -> dict[str, Factors]:
    generator = torch.Generator().manual_seed(rank)

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator)

    return {
        name: Factors(
            normal(rank, shape.d_in),
            normal(shape.d_out, rank),
            prefix(rank),
            normal(rank, 1) if diagonal else None,
        )
        for name, shape in bridge.shapes.items()
    }


def extras() -> dict[str, Tensor]:
    model = small()
    return find_extras(model, find_targets(model, "all"), "all")


def stepped(bridge: Bridge) -> list[Tensor]:
    """Return the answers, and the gradient of every parameter that is trained."""
    x = torch.randn(SHAPE, generator=torch.Generator().manual_seed(3))
    answers = bridge.model(x)
    answers.square().mean().backward()
    gradients = [p.grad for p in bridge.trainable()]
    assert all(g is not None for g in gradients)
    return [answers.detach(), *gradients]


@pytest.mark.parametrize(
    "kind", ["plain", "SVD form", "beside frozen slots", "without some", "base"]
)
def test_answers_and_gradients_are_those_of_pefts_layers(kind):
    found = []
    for folds in (False, True):
        bridge = wrapped(folds=folds)
        adapter = drawn(bridge, 3, diagonal=kind == "SVD form")
        more = {}
        if kind == "beside frozen slots":
            more["frozen"] = drawn(bridge, 2)
        if kind == "without some":
            del adapter["2"]
        if kind == "base":
            more["change"] = {
                name: torch.ones(shape.d_out, shape.d_in) for name, shape in bridge.shapes.items()
            }
        bridge.load(adapter, extras(), **more)
        found.append(stepped(bridge))
    for one, other in zip(*found, strict=True):
        assert (one - other).abs().max() <= 1e-5 * one.abs().max()


def test_the_base_is_called_once_and_the_factors_layers_not_at_all():
    bridge = wrapped(folds=True)
    bridge.load(drawn(bridge, 3), extras())
    layer, calls = bridge.layers["2"], []
    for name, module in layer.named_modules():
        module.register_forward_hook(lambda *_, name=name: calls.append(name))
    bridge.model(torch.randn(SHAPE))
    assert calls == ["base_layer", ""]


def test_a_layer_that_is_switched_off_answers_as_its_base():
    bridge = wrapped(folds=True)
    bridge.load(drawn(bridge, 3), extras())
    for layer in bridge.layers.values():
        layer.enable_adapters(False)
    x = torch.randn(SHAPE)
    assert torch.equal(bridge.model(x), small()(x))


def test_in_half_precision_pefts_way_stays():
    found = []
    for folds in (False, True):
        bridge = wrapped(folds=folds)
        bridge.load(drawn(bridge, 3), extras())
        with torch.autocast("cpu", torch.bfloat16):
            found.append(stepped(bridge))
    for one, other in zip(*found, strict=True):
        assert torch.equal(one, other)


def test_layers_that_are_no_convolution_of_single_precision_stay():
    bridge = wrapped(folds=False)
    bridge.model.to(torch.bfloat16)
    for layer in bridge.layers.values():
        fold(layer)
        assert "forward" not in vars(layer)
    linear = wrapped(folds=True).layers["5"]
    assert "forward" not in vars(linear)
