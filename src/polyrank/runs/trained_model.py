"""A model that a run has trained, read from its folder."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter
from torch import nn

from polyrank.disk.checkpoint import ClientStore, load_tensors
from polyrank.disk.outside import as_written
from polyrank.errors import RunFolderError, nearest
from polyrank.learning.adapting import trained_parts, wrap
from polyrank.lora.factors import Adapter, Tensors
from polyrank.lora.scaling import Scaling
from polyrank.models import MODELS
from polyrank.models.packed import packed_modules
from polyrank.models.weights import put_weights
from polyrank.peft_bridge import Bridge
from polyrank.plain import one_line
from polyrank.record.run_folder import RunFolder
from polyrank.runs.base import whole_base
from polyrank.server.saved_state import unpack_state
from polyrank.settings.ranges import scalings
from polyrank.settings.schema import Settings

_SIZES = TypeAdapter(tuple[tuple[int, ...], int, int])
_NAMES = TypeAdapter(tuple[str, ...])
_COLUMNS = TypeAdapter(tuple[str, ...] | None)


@dataclass(frozen=True)
class TrainedModel:
    """A model that a run has trained.

    Args:
        settings: of the run.
        base: state of the frozen base.
        adapter: the global one, or a client's own.
        extras: trained with it.
        input_shape: shape of one example.
        classes: number of labels.
        rounds: finished rounds.
        label_names: names of the labels, (classes,).
        columns: of a table, what the inputs are.
        change: what aggregation has added to the base, module -> (d_out, d_in).
    """

    settings: Settings
    base: Tensors
    adapter: Adapter
    extras: Tensors
    input_shape: tuple[int, ...]
    classes: int
    rounds: int
    label_names: tuple[str, ...]
    columns: tuple[str, ...] | None = None
    change: Tensors = field(default_factory=dict)

    def plain_base(self) -> nn.Module:
        """Build the base with what aggregation added, and the trained extras, in place."""
        model = self._shell()
        rules = self._rules(model) if self.change else {}
        state = {**self.base, **self.extras}
        for module, added in self.change.items():
            weight = state[f"{module}.weight"]
            added = (rules[module].server * added).reshape(weight.shape)
            state[f"{module}.weight"] = (weight + added).to(weight.dtype)
        put_weights(model, state)
        return model.eval()

    def scaling(self, model: nn.Module) -> dict[str, float]:
        """Return by what each module's product is multiplied.

        Args:
            model: the base, not wrapped.
        """
        rules = self._rules(model)
        return {name: rules[name].stored(f.rank) for name, f in self.adapter.items()}

    def bridge(self) -> Bridge:
        """Build the wrapped model, loaded."""
        model = self._shell()
        put_weights(model, self.base)
        bridge = wrap(self.settings, model)
        bridge.load(self.adapter, self.extras, change=self.change)
        bridge.model.eval()
        return bridge

    def unpacked(self) -> "TrainedModel":
        """Return the same model with weights of 4 bits as the float32 numbers they stand for."""
        if not packed_modules(self.base):
            return self
        from polyrank.models.four_bit import at_full_precision

        return replace(self, base=at_full_precision(self.base))

    def _rules(self, model: nn.Module) -> dict[str, Scaling]:
        return scalings(self.settings, trained_parts(self.settings, model).shapes)

    def _shell(self) -> nn.Module:
        return MODELS.build(self.settings.model).shell(self.input_shape, self.classes)


def read_trained(path: Path, client: str | None) -> TrainedModel:
    """Read the global model of a run, or one client's own.

    Raises:
        RunFolderError: no round is saved, or the client has not trained.
    """
    folder = RunFolder.open(path)
    last = folder.last_state()
    if last is None:
        raise RunFolderError(f"{path}: no round has been saved yet")
    with as_written(path):
        return _read(folder, *load_tensors(last), client)


def _read(
    folder: RunFolder, tensors: Tensors, header: Mapping[str, Any], client: str | None
) -> TrainedModel:
    change: Tensors = {}
    if client is None:
        state = unpack_state(tensors, header)
        model = state.in_use
        adapter, extras = model.adapter, model.extras
        change = model.base.totals if model.base else {}
    else:
        trained = _round_of(folder, header, client)
        store = ClientStore(folder.clients)
        adapter, extras = store.load(client, trained)
        if header["base"] and trained > 1:
            change = store.load_base(trained - 1)
    kept, about = load_tensors(folder.checkpoint / "base.safetensors")
    base = whole_base(folder.settings, kept, about)
    told = sizes_and_names({**about, "round": header["round"]}, header["facts"])
    return TrainedModel(folder.settings, base, adapter, extras, *told, change)


def sizes_and_names(
    about: Mapping[str, Any], named: Mapping[str, Any]
) -> tuple[tuple[int, ...], int, int, tuple[str, ...], tuple[str, ...] | None]:
    """Check and return what is told of a model: shape of an example, labels, rounds, names.

    Args:
        about: ``input_shape``, ``classes`` and ``round``.
        named: ``label_names``, and ``columns`` of a table.
    """
    return (
        *_SIZES.validate_python((about["input_shape"], about["classes"], about["round"])),
        _NAMES.validate_python(named["label_names"]),
        _COLUMNS.validate_python(named.get("columns")),
    )


def _round_of(folder: RunFolder, header: Mapping[str, Any], client: str) -> int:
    """Return the round in which a client last trained."""
    plan: Mapping[str, Any] = header["plan"]
    if client not in plan:
        raise RunFolderError(
            f"{folder.path}: there is no client {client!r}{nearest(client, plan)}; "
            f"the clients are {', '.join(map(one_line, list(plan)[:20]))}"
        )
    if folder.elsewhere:
        raise RunFolderError(
            f"{folder.path}: the model of client {client!r} stays on its host, in the folder "
            f"store/{folder.elsewhere.run} of its kit: polyrank export that folder, there"
        )
    if client not in header["trained"]:
        raise RunFolderError(f"{folder.path}: client {client!r} has not trained in any round")
    last: int = header["trained"][client]
    return last
