"""Put LoRA into a model, set and read its factors.

PEFT's layers do the forward pass, in SVD form with what ``diagonal`` adds. One wrapped model
serves every client of a process, at whatever ranks: ``load`` swaps the factors and sets
``layer.scaling``, which does not follow by itself; where that goes by the rank, factors may come
in another unit than training has them in (``polyrank.lora.scaling``). Loaded tensors are copies,
so that training never changes what is shared. Slots that a client uses and does not train are a
second PEFT adapter beside the first. Where a module has no slots, PEFT's layer calls the base
layer alone and holds no factors.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from polyrank.errors import AdapterError
from polyrank.lora.factors import ALL, NONE, Adapter, Factors, Part, Parts, Tensors, of_parts
from polyrank.lora.scaling import Scaling
from polyrank.lora.shapes import ModuleShape
from polyrank.peft_bridge.diagonal import diagonal, put_diagonal
from polyrank.peft_bridge.padding import pad_ranks
from polyrank.peft_bridge.targets import find_extras

if TYPE_CHECKING:
    from peft.tuners.lora import LoraLayer

ADAPTER = "default"
FROZEN = "frozen"


class Bridge:
    """A model wrapped by PEFT, with named modules and named extras.

    Args:
        model: wrapped in place; its weights stay frozen.
        shapes: the modules to adapt, from ``find_targets``.
        extras: what is trained besides LoRA: ``"all"`` other parameters, ``"none"``, or name
            patterns. Buffers, such as batch-norm statistics, always count as extras.
        scaling: module -> by what its product ``b @ a`` is multiplied, in SVD form with ``e``.
        pads: products are computed at multiples of eight slots.
    """

    def __init__(
        self,
        model: nn.Module,
        shapes: Mapping[str, ModuleShape],
        extras: str | Sequence[str],
        scaling: Mapping[str, Scaling],
        *,
        pads: bool = False,
    ) -> None:
        names = find_extras(model, shapes, extras)
        self.model = model
        self.shapes = dict(shapes)
        self.scaling = dict(scaling)
        self._pads = pads
        self._inject(ADAPTER)
        self.layers: dict[str, LoraLayer] = {n: model.get_submodule(n) for n in shapes}
        self._weights: dict[str, Tensor] = {
            n: layer.get_base_layer().weight for n, layer in self.layers.items()
        }
        self._change: Tensors = {}
        self.model.requires_grad_(False)
        owners = {n: self._owner(n) for n in names}
        self._parameters = {n: at for n, at in owners.items() if at[1] in at[0]._parameters}
        self._buffers = {n: at for n, at in owners.items() if at[1] in at[0]._buffers}

    def load(
        self,
        adapter: Adapter,
        extras: Tensors,
        *,
        frozen: Adapter | None = None,
        trains: Parts = ALL,
        change: Tensors | None = None,
    ) -> None:
        """Set the model to an adapter and extras, by copy; modules without slots are left out.

        Args:
            adapter: the slots to work with.
            extras: all extras.
            frozen: slots that work with them and that training leaves alone.
            trains: the factors of ``adapter`` that training changes.
            change: module -> (d_out, d_in), added to the base weights times the server's scaling.
                The same object as before is taken to be unchanged.

        Raises:
            AdapterError: a name is unknown or an extra is missing.
        """
        for name in adapter.keys() - self.layers.keys():
            raise AdapterError(
                f"the adapter has module {name!r}; the model adapts {[*self.layers]}"
            )
        # messages come with their modules in any order, and a sum over modules has one
        adapter = {name: adapter[name] for name in self.layers if name in adapter}
        wanted = self._parameters.keys() | self._buffers.keys()
        if extras.keys() != wanted:
            raise AdapterError(
                f"extras differ: unknown {sorted(extras.keys() - wanted)}, "
                f"missing {sorted(wanted - extras.keys())}"
            )
        if frozen and not self._has_frozen:
            self._inject(FROZEN)
            self.model.requires_grad_(False)
        for name, layer in self.layers.items():
            both = {ADAPTER: adapter.get(name), FROZEN: (frozen or {}).get(name)}
            self._activate(layer, [key for key, f in both.items() if f is not None and f.rank])
            for key, factors in both.items():
                if factors is None or not factors.rank:
                    _empty(layer, key)
                else:
                    self._load_factors(name, key, factors, trains if key == ADAPTER else NONE)
        self._set_change(change or {})
        for name, (owner, leaf) in self._parameters.items():
            owner._parameters[leaf] = nn.Parameter(self._copied(extras[name]))
        for name, (owner, leaf) in self._buffers.items():
            owner._buffers[leaf] = self._copied(extras[name])
        self._loaded, self._frozen = adapter, frozen or {}

    def factor_pairs(self) -> list[tuple[Tensor, Tensor]]:
        """Return ``a`` (r, d_in) and ``b`` (d_out, r), with ``e`` in it, of the loaded slots."""
        pairs = []
        for name in self._with_slots:
            held = {part: t.flatten(1) for part, t in _held(self.layers[name]).items()}
            a, b = held[Part.A], held[Part.B]
            pairs.append((a, b * held[Part.E].T if Part.E in held else b))
        return pairs

    def trained_parts(self) -> dict[str, dict[Part, nn.Parameter]]:
        """Return those parameters of the loaded slots that training changes, by module and part."""
        return {
            name: {part: t for part, t in _held(self.layers[name]).items() if t.requires_grad}
            for name in self._with_slots
        }

    def read(self) -> tuple[dict[str, Factors], dict[str, Tensor]]:
        """Return the adapter, with the slots that were loaded, and the extras, on the CPU."""
        adapter = {}
        for name, slots in self._with_slots.items():
            held = _held(self.layers[name])
            read = {part: t.detach().flatten(1).cpu() for part, t in held.items()}
            unit = self._unit(name, len(slots))
            if unit != 1:
                read[Part.B] = read[Part.B] / unit
            adapter[name] = of_parts(read, slots)
        return adapter, {n: t.detach().cpu() for n, t in self._extras().items()}

    @property
    def loaded(self) -> Adapter:
        """What ``load`` was given to work with, which training leaves as it was."""
        return self._loaded

    def with_frozen(self, adapter: Adapter) -> dict[str, Factors]:
        """Return an adapter with the slots that were loaded as frozen."""
        rest = {name: f for name, f in self._frozen.items() if f.rank}
        return {n: f.with_slots(rest[n]) if n in rest else f for n, f in adapter.items()}

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
            weight, plain = state[f"{name}.weight"], f.folded()
            scale = self.scaling[name].stored(f.rank)
            delta = scale * (plain.b.double() @ plain.a.double())
            weight += delta.reshape(weight.shape).to(weight)
        return state

    def _inject(self, name: str) -> None:
        from peft import LoraConfig, inject_adapter_in_model

        config = LoraConfig(r=1, lora_alpha=1, target_modules=list(self.shapes))
        with warnings.catch_warnings(), torch.random.fork_rng(devices=[]):
            warnings.simplefilter("ignore")
            inject_adapter_in_model(config, self.model, adapter_name=name)
        if self._pads:
            for module in self.shapes:
                pad_ranks(self.model.get_submodule(module), name)

    @property
    def _with_slots(self) -> dict[str, Tensor]:
        return {name: f.slots for name, f in self._loaded.items() if f.rank}

    @property
    def _has_frozen(self) -> bool:
        return FROZEN in next(iter(self.layers.values())).lora_A

    def _set_change(self, change: Tensors) -> None:
        if change is self._change or not (change or self._change):
            return
        for name, weight in self._weights.items():
            added = change.get(name)
            changed = weight
            if added is not None:
                added = (self.scaling[name].server * added).to(weight.device)
                added = weight + added.reshape(weight.shape)
                changed = nn.Parameter(added.to(weight.dtype), requires_grad=False)
            self.layers[name].get_base_layer().weight = changed
        self._change = change

    def _activate(self, layer: LoraLayer, adapters: list[str]) -> None:
        if adapters:
            layer.set_adapter(adapters)
        if layer.disable_adapters == bool(adapters):
            layer.enable_adapters(bool(adapters))

    def _load_factors(self, name: str, adapter: str, factors: Factors, trains: Parts) -> None:
        layer, rule = self.layers[name], self.scaling[name]
        unit = self._unit(name, factors.rank) if adapter == ADAPTER else 1.0
        for part, module in _modules(layer, adapter).items():
            flat = factors.tensors[part]
            shape = (flat.shape[0], *_tail(module.weight, flat.shape[1]))
            loaded = self._copied(flat).reshape(shape)
            if part is Part.B and unit != 1:
                loaded *= unit
            module.weight = nn.Parameter(loaded, requires_grad=part in trains)
        e = None
        if factors.e is not None:
            e = nn.Parameter(self._copied(factors.e), requires_grad=Part.E in trains)
        put_diagonal(layer.lora_B[adapter], e)
        layer.r[adapter] = factors.rank
        layer.scaling[adapter] = rule.stored(factors.rank) / unit

    def _unit(self, name: str, rank: int) -> float:
        """Return by what ``b`` is multiplied for training, so that the product stays the same."""
        rule = self.scaling[name]
        return rule.stored(rank) / rule.training(rank)

    def _copied(self, tensor: Tensor) -> Tensor:
        return tensor.to(self.device, copy=True, memory_format=torch.contiguous_format)

    def _owner(self, name: str) -> tuple[nn.Module, str]:
        path, _, leaf = name.rpartition(".")
        adapted = self.layers.get(path)
        owner = self.model.get_submodule(path) if adapted is None else adapted.get_base_layer()
        return owner, leaf

    def _extras(self) -> dict[str, Tensor]:
        found: dict[str, Any] = {
            n: o._parameters[leaf] for n, (o, leaf) in self._parameters.items()
        }
        return found | {n: o._buffers[leaf] for n, (o, leaf) in self._buffers.items()}


def _modules(layer: LoraLayer, adapter: str) -> dict[Part, Any]:
    """Return PEFT's two layers of an adapter, none of one that was never put in."""
    held = {Part.A: layer.lora_A, Part.B: layer.lora_B}
    return {part: modules[adapter] for part, modules in held.items() if adapter in modules}


def _held(layer: LoraLayer) -> dict[Part, nn.Parameter]:
    """Return the parameters of the slots that a layer works with."""
    modules = _modules(layer, ADAPTER)
    held: dict[Part, nn.Parameter] = {part: module.weight for part, module in modules.items()}
    e = diagonal(modules[Part.B])
    return held if e is None else {**held, Part.E: e}


def _empty(layer: LoraLayer, adapter: str) -> None:
    """Leave the adapter without slots; it is off, and no factors stay in memory."""
    for part, module in _modules(layer, adapter).items():
        none = module.weight.detach().narrow(part.axis, 0, 0).clone()
        module.weight = nn.Parameter(none, requires_grad=False)
        if part is Part.B:
            put_diagonal(module, None)


def _tail(weight: Tensor, columns: int) -> tuple[int, ...]:
    """Shape of one row of a Linear (columns,) or Conv2d (in, kh, kw) weight."""
    if weight.dim() == 2:
        return (columns,)
    kernel = tuple(weight.shape[2:])
    return (columns // (kernel[0] * kernel[1]), *kernel)
