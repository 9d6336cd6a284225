"""The model as a process of a run builds it."""

import pytest
import torch

from polyrank.learning.blueprint import Blueprint
from polyrank.models import MODELS
from polyrank.settings.toml import make_settings

SHAPE, CLASSES = (3, 16, 16), 4


@pytest.fixture
def blueprint() -> Blueprint:
    settings = make_settings({"model": {"kind": "cnn", "widths": [8, 8]}, "device": "cpu"})
    model = MODELS.build(settings.model).model(SHAPE, CLASSES, seed=0)
    base = {name: tensor.detach().clone() for name, tensor in model.state_dict().items()}
    return Blueprint(settings, base, SHAPE, CLASSES)


def test_on_a_cpu_convolutions_lie_channels_last_and_the_rest_is_not_copied(blueprint):
    bridge = blueprint.build()
    conv = bridge.layers["block2.conv2"].get_base_layer().weight
    given = blueprint.base["block2.conv2.weight"]
    assert conv.is_contiguous(memory_format=torch.channels_last)
    assert not conv.is_contiguous()
    assert given.is_contiguous()
    assert torch.equal(conv, given)
    head = bridge.layers["head"].get_base_layer().weight
    assert head.data_ptr() == blueprint.base["head.weight"].data_ptr()


def test_images_come_out_of_it_channels_last(blueprint):
    bridge, seen = blueprint.build(), []
    bridge.layers["block2.conv2"].register_forward_hook(lambda *call: seen.append(call[-1]))
    bridge.model.eval()(torch.randn(3, *SHAPE))
    assert seen[0].is_contiguous(memory_format=torch.channels_last)


def test_on_a_cpu_convolutions_are_folded(blueprint):
    bridge = blueprint.build()
    folded = {name for name, layer in bridge.layers.items() if "forward" in vars(layer)}
    assert folded == {name for name in bridge.layers if "conv" in name}
