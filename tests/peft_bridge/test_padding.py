"""Products at multiples of eight slots: the same values, gradients and parameters, fewer shapes."""

import pytest
import torch
from torch import nn

from polyrank.lora.factors import Factors, prefix
from polyrank.lora.scaling import Scaling
from polyrank.models.mlp import mlp
from polyrank.peft_bridge import Bridge, find_extras, find_targets


def wrapped(*, pads: bool) -> Bridge:
    torch.manual_seed(1)
    model = mlp(input_shape=(1, 4, 4), classes=3, hidden=(5, 6))
    shapes = find_targets(model, "all")
    return Bridge(model, shapes, "all", dict.fromkeys(shapes, Scaling(0.5)), pads=pads)


def loaded(bridge: Bridge, ranks: list[int], frozen: int = 0) -> Bridge:
    generator = torch.Generator().manual_seed(0)

    def drawn(ranks: list[int]) -> dict[str, Factors]:
        return {
            name: Factors(
                torch.randn(rank, shape.d_in, generator=generator),
                torch.randn(shape.d_out, rank, generator=generator),
                prefix(rank),
            )
            for (name, shape), rank in zip(bridge.shapes.items(), ranks, strict=True)
        }

    torch.manual_seed(1)
    plain = mlp(input_shape=(1, 4, 4), classes=3, hidden=(5, 6))
    extras = find_extras(plain, bridge.shapes, "all")
    beside = drawn([frozen] * len(ranks)) if frozen else None
    bridge.load(drawn(ranks), extras, frozen=beside)
    return bridge


@pytest.mark.parametrize("ranks", [[1, 7, 3], [8, 9, 16], [17, 0, 8]], ids=str)
@pytest.mark.parametrize("frozen", [0, 3])
def test_padding_changes_neither_outputs_nor_gradients_nor_what_is_read(ranks, frozen):
    padded = loaded(wrapped(pads=True), ranks, frozen)
    plain = loaded(wrapped(pads=False), ranks, frozen)
    x = torch.randn(9, 1, 4, 4)
    torch.testing.assert_close(padded.model(x), plain.model(x), rtol=1e-4, atol=1e-4)
    for bridge in (padded, plain):
        bridge.model(x).logsumexp(1).sum().backward()
    for one, other in zip(padded.trainable(), plain.trainable(), strict=True):
        assert one.shape == other.shape
        assert float((one.grad - other.grad).norm()) <= 1e-5 * float(other.grad.norm())
    found = padded.read()[0]
    for name, factors in plain.read()[0].items():
        assert torch.equal(found[name].a, factors.a)
        assert torch.equal(found[name].b, factors.b)


def test_all_products_have_a_multiple_of_eight_slots():
    bridge, widths = loaded(wrapped(pads=True), [1, 7, 17], frozen=3), []

    def note(layer: nn.Module, inputs: tuple[torch.Tensor], output: torch.Tensor) -> None:
        widths.append(output.shape[-1])

    for layer in bridge.layers.values():
        for a in layer.lora_A.values():
            a.register_forward_hook(note)
    bridge.model(torch.randn(2, 1, 4, 4))
    assert widths == [8, 8, 8, 8, 24, 8]
