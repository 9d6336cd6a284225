"""What a process needs to build the model of a run."""

from dataclasses import dataclass, replace

import torch
from torch.nn.utils import convert_conv2d_weight_memory_format

from polyrank.learning.adapting import wrap
from polyrank.learning.forward import choose_device
from polyrank.lora.factors import Adapter, Tensors, shared_adapter
from polyrank.models import MODELS
from polyrank.models.weights import put_weights, share_weights
from polyrank.peft_bridge import Bridge
from polyrank.peft_bridge.folding import fold
from polyrank.settings.schema import Settings


@dataclass(frozen=True)
class Blueprint:
    """The model of a run before any training, as server and clients both know it.

    Args:
        settings: of the run.
        base: state of the frozen model.
        input_shape: shape of one example.
        classes: number of labels.
        start: the adapter that the run began with, if it did not begin with new factors.
    """

    settings: Settings
    base: Tensors
    input_shape: tuple[int, ...]
    classes: int
    start: Adapter | None = None

    @property
    def device(self) -> torch.device:
        """Where the model is built."""
        return choose_device(self.settings.device)

    def build(self) -> Bridge:
        """Build the model, put the base weights in, copying convolutions alone, and wrap it."""
        model = MODELS.build(self.settings.model).shell(self.input_shape, self.classes)
        put_weights(model, self.base)
        on_cpu = self.device.type == "cpu"  # what is faster there: benchmarks/convolutions.py
        if on_cpu:
            convert_conv2d_weight_memory_format(model, torch.channels_last)
        bridge = wrap(self.settings, model.to(self.device))
        for layer in bridge.layers.values() if on_cpu else ():
            fold(layer)
        return bridge

    def share_memory(self) -> "Blueprint":
        """Move the tensors to memory that other processes can map."""
        start = self.start and shared_adapter(self.start)
        return replace(self, base=share_weights(self.base), start=start)
