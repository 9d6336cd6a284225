"""Put LoRA into a model, set and read its factors.

PEFT's layers do the forward pass. One wrapped model serves every client of a process, at
whatever ranks: ``load`` swaps the factors and sets ``layer.scaling``, which does not
follow by itself. Loaded tensors are copies, so that training never changes what is shared.
"""

import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from peft import LoraConfig, inject_adapter_in_model
from peft.tuners.lora import LoraLayer
from torch import Tensor, nn

from polyrank.adapter import Adapter, Factors, Tensors
from polyrank.errors import AdapterError
from polyrank.peft_bridge.targets import ModuleShape, find_extras

ADAPTER = "default"


class Bridge:
    """A model wrapped by PEFT, with named modules and named extras.

    Args:
        model: wrapped in place; its weights stay frozen.
        shapes: the modules to adapt, from ``find_targets``.
        extras: what is trained besides LoRA: ``"all"`` other parameters, ``"none"``, or name
            patterns. Buffers, such as batch-norm statistics, always count as extras.
        scaling: the constant of every update ``scaling * b @ a``.
    """

    def __init__(
        self,
        model: nn.Module,
        shapes: Mapping[str, ModuleShape],
        extras: str | Sequence[str],
        scaling: float,
    ) -> None:
        names = find_extras(model, shapes, extras)
        config = LoraConfig(r=1, lora_alpha=1, target_modules=list(shapes))
        with warnings.catch_warnings(), torch.random.fork_rng(devices=[]):
            warnings.simplefilter("ignore")
            self.model = inject_adapter_in_model(config, model, adapter_name=ADAPTER)
        self.shapes = dict(shapes)
        self.scaling = scaling
        self.layers: dict[str, LoraLayer] = {n: model.get_submodule(n) for n in shapes}
        self.model.requires_grad_(False)
        owners = {n: self._owner(n) for n in names}
        self._parameters = {n: at for n, at in owners.items() if at[1] in at[0]._parameters}
        self._buffers = {n: at for n, at in owners.items() if at[1] in at[0]._buffers}

    def load(self, adapter: Adapter, extras: Tensors) -> None:
        """Set the model to an adapter and extras, by copy; modules without slots are left out.

        Raises:
            AdapterError: a name is unknown or an extra is missing.
        """
        for name in adapter.keys() - self.layers.keys():
            raise AdapterError(
                f"the adapter has module {name!r}; the model adapts {[*self.layers]}"
            )
        wanted = self._parameters.keys() | self._buffers.keys()
        if extras.keys() != wanted:
            raise AdapterError(
                f"extras differ: unknown {sorted(extras.keys() - wanted)}, "
                f"missing {sorted(wanted - extras.keys())}"
            )
        for name, layer in self.layers.items():
            self._load_module(layer, adapter.get(name))
        for name, (owner, leaf) in self._parameters.items():
            owner._parameters[leaf] = nn.Parameter(extras[name].to(self.device, copy=True))
        for name, (owner, leaf) in self._buffers.items():
            owner._buffers[leaf] = extras[name].to(self.device, copy=True)
        self._loaded = adapter

    def read(self) -> tuple[dict[str, Factors], dict[str, Tensor]]:
        """Return the adapter, with the slots that were loaded, and the extras, on the CPU."""
        adapter = {}
        for name, loaded in self._loaded.items():
            if not loaded.rank:
                continue
            layer = self.layers[name]
            a = layer.lora_A[ADAPTER].weight.detach().flatten(1).cpu()
            b = layer.lora_B[ADAPTER].weight.detach().flatten(1).cpu()
            adapter[name] = Factors(a, b, loaded.slots)
        return adapter, {n: t.detach().cpu() for n, t in self._extras().items()}

    def trainable(self) -> list[nn.Parameter]:
        """Return the parameters that training changes, in a fixed order."""
        return [p for p in self.model.parameters() if p.requires_grad]

    def extra_parameters(self) -> list[nn.Parameter]:
        """Return those of ``trainable`` that are not LoRA."""
        found = self._extras()
        return [p for n in self._parameters if isinstance(p := found[n], nn.Parameter)]

    @property
    def device(self) -> torch.device:
        """Where the model is."""
        layer = next(iter(self.layers.values()))
        weight: Tensor = layer.get_base_layer().weight
        return weight.device

    def merged_weights(self) -> dict[str, Tensor]:
        """Return the state of a plain model with the loaded adapter merged in."""
        state: dict[str, Tensor] = {}
        for name, tensor in self.model.state_dict().items():
            if ".lora_" not in name:
                state[name.replace(".base_layer.", ".")] = tensor.detach().clone()
        adapter, _ = self.read()
        for name, f in adapter.items():
            weight = state[f"{name}.weight"]
            delta = self.scaling * (f.b.double() @ f.a.double())
            weight += delta.reshape(weight.shape).to(weight)
        return state

    def _load_module(self, layer: LoraLayer, factors: Factors | None) -> None:
        active = factors is not None and factors.rank > 0
        if layer.disable_adapters == active:
            layer.enable_adapters(active)
        if factors is None or not active:
            for part in (layer.lora_A, layer.lora_B):
                part[ADAPTER].weight.requires_grad_(False)
            return
        for part, flat in ((layer.lora_A, factors.a), (layer.lora_B, factors.b)):
            module = part[ADAPTER]
            shape = (flat.shape[0], *_tail(module.weight, flat.shape[1]))
            module.weight = nn.Parameter(flat.to(self.device, copy=True).reshape(shape))
        layer.r[ADAPTER] = factors.rank
        layer.scaling[ADAPTER] = self.scaling

    def _owner(self, name: str) -> tuple[nn.Module, str]:
        path, _, leaf = name.rpartition(".")
        owner = self.model.get_submodule(path)
        return (owner.get_base_layer() if isinstance(owner, LoraLayer) else owner), leaf

    def _extras(self) -> dict[str, Tensor]:
        found: dict[str, Any] = {
            n: o._parameters[leaf] for n, (o, leaf) in self._parameters.items()
        }
        return found | {n: o._buffers[leaf] for n, (o, leaf) in self._buffers.items()}


def _tail(weight: Tensor, columns: int) -> tuple[int, ...]:
    """Shape of one row of a Linear (columns,) or Conv2d (in, kh, kw) weight."""
    if weight.dim() == 2:
        return (columns,)
    kernel = tuple(weight.shape[2:])
    return (columns // (kernel[0] * kernel[1]), *kernel)
