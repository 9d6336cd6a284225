"""From a run folder to a folder that stands alone: a PEFT adapter with its base, or merged.

``base.json`` tells what builds the base, ``base.safetensors`` holds its weights with the
trained extras in place. ``load_base`` gives the base back as a module. No file tells where
things lay on this machine.
"""

import json
import re
import shlex
import shutil
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, PositiveInt, TypeAdapter, ValidationError
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor, nn

from polyrank.disk.checkpoint import ClientStore, load_tensors
from polyrank.disk.files import write_whole
from polyrank.disk.outside import as_written, read_object
from polyrank.errors import AdapterError, RunFolderError, SettingsError, nearest
from polyrank.learning.adapting import wrap
from polyrank.lora.factors import Adapter, Tensors
from polyrank.models import MODELS
from polyrank.models.packed import packed_modules
from polyrank.models.weights import put_weights, read_weights
from polyrank.peft_bridge import (
    Bridge,
    Published,
    check_adapter_folder,
    saved_modules,
    write_adapter,
)
from polyrank.plain import one_line
from polyrank.record.lines import ClientLine, FinalLine
from polyrank.record.run_folder import RunFolder
from polyrank.runs.base import is_published, whole_base
from polyrank.runs.model_card import model_card
from polyrank.server.saved_state import unpack_state
from polyrank.settings.schema import MethodSettings, Settings
from polyrank.settings.trust import refuse_own_code

_HERE = "."  # the name of a pre-trained model that the export itself describes
_SIZES = TypeAdapter(tuple[tuple[int, ...], int, int])
_NAMES = TypeAdapter(tuple[str, ...])
_HUB_NAME = re.compile(r"\w[\w.-]*(/\w[\w.-]*)?")  # no absolute path, no ".."


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
    change: Tensors = field(default_factory=dict)

    def plain_base(self) -> nn.Module:
        """Build the base with what aggregation added, and the trained extras, in place."""
        model = self._shell()
        state = {**self.base, **self.extras}
        for module, added in self.change.items():
            weight = state[f"{module}.weight"]
            added = (self.settings.adapter.scaling * added).reshape(weight.shape)
            state[f"{module}.weight"] = (weight + added).to(weight.dtype)
        put_weights(model, state)
        return model.eval()

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
        model = unpack_state(tensors, header).exported
        adapter, extras = model.adapter, model.extras
        change = model.base.totals if model.base else {}
    else:
        trained = _round_of(folder, header, client)
        store = ClientStore(folder.clients)
        adapter, extras = store.load(client, trained)
        if header["base"] and trained > 1:
            change = store.load_base(trained - 1)
    kept, about = load_tensors(folder.checkpoint / "base.safetensors")
    return TrainedModel(
        folder.settings,
        whole_base(folder.settings, kept, about),
        adapter,
        extras,
        *_SIZES.validate_python((about["input_shape"], about["classes"], header["round"])),
        _NAMES.validate_python(header["facts"]["label_names"]),
        change,
    )


def export(
    path: str | Path,
    out: str | Path,
    *,
    client: str | None = None,
    merge: bool = False,
    pad_rank: int | None = None,
    trust: bool = False,
) -> Path:
    """Write a trained model so that it can be used without PolyRank's run folder.

    The base of a pre-trained model that was used as it was published, and to which aggregation
    has added nothing, is not written: PEFT puts the adapter, with the modules trained in full,
    on the model of that name. Merged, the folder is one that transformers loads.

    Without ``merge``: a PEFT adapter folder, with the base in ``base.safetensors`` and
    ``base.json``; ``PeftModel.from_pretrained(load_base(out), out)`` gives the logits of the
    run. With ``merge``: one ``model.safetensors`` with the adapter merged in, and ``base.json``.
    Both come with a model card, ``README.md``.

    Args:
        path: the run folder.
        out: made; must be new or empty.
        client: whose model; None for the global one.
        merge: merge the adapter into the base; weights of 4 bits become float32 first.
        pad_rank: pad all modules with zero slots to this one rank, as vLLM wants it.
        trust: import and call the model where the run's settings name one of somebody's own.

    Raises:
        AdapterError: a module has more slots than ``pad_rank``.
        RunFolderError: nothing is saved, the client is unknown, ``out`` is not empty, or the
            model is code of somebody's own and ``trust`` is not given.
    """
    path, out = Path(path), Path(out)
    if merge and pad_rank is not None:
        raise SettingsError("a merged export has no ranks to pad: give merge or pad_rank")
    if not trust:
        whose = "--global" if client is None else f"--client {shlex.quote(client)}"
        command = f"export {whose} --out {shlex.quote(str(out))}" + " --merge" * merge
        refuse_own_code(RunFolder.open(path).settings, path, command, "model")
    trained = read_trained(path, client)
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise RunFolderError(f"{out}: there is something already; choose another --out")
    part = out.absolute().with_name(f".{out.absolute().name}.part")
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(parents=True)
    try:
        run = RunFolder(path)
        with as_written(path):
            about = _write(part, trained, merge, pad_rank)
            card = model_card(
                trained.settings,
                {name: factors.rank for name, factors in trained.adapter.items()},
                trained.rounds,
                client=client,
                merged=merge,
                summary=run.read_summary() if run.finished else None,
                final=_final_of(run.read_clients(), client),
                folder=out.absolute().name,
                base=about.get("folder"),
            )
        write_whole(part / "README.md", card.encode())
        _open_to_others(part)
        if out.exists():  # an empty folder that may be somebody's current one stays itself
            for file in part.iterdir():
                file.replace(out / file.name)
        else:
            part.replace(out)
    finally:
        shutil.rmtree(part, ignore_errors=True)
    return out


def _final_of(lines: Iterable[ClientLine], client: str | None) -> FinalLine | None:
    """Return a client's line about its own test rows, or None."""
    finals = (line for line in lines if isinstance(line, FinalLine))
    return next((line for line in finals if line.client == client), None)


def _open_to_others(folder: Path) -> None:
    """Give every file the mode of one just written, for libraries keep theirs to the owner."""
    mode = (folder / "base.json").stat().st_mode
    for path in folder.rglob("*"):
        if path.is_file():
            path.chmod(mode)


def _write(
    part: Path, trained: TrainedModel, merge: bool, pad_rank: int | None
) -> Mapping[str, Any]:
    """Write all but the card, and return what ``base.json`` holds."""
    model = trained.settings.model.model_dump()
    about: dict[str, Any] = {
        "model": model,
        "input_shape": list(trained.input_shape),
        "classes": trained.classes,
        "weights": "model.safetensors" if merge else "base.safetensors",
    }
    settings = trained.settings
    about_model = MODELS.build(settings.model).pretrained
    if merge:
        weights: Mapping[str, Tensor] = trained.unpacked().bridge().merged_weights()
    else:
        base = trained.plain_base()
        weights = {name: tensor.clone() for name, tensor in read_weights(base).items()}
        as_published = is_published(settings) and not trained.change
        saved = saved_modules(trained.adapter, trained.extras) if as_published else None
        if saved is not None:
            about["weights"] = None
        published = None if saved is None else Published(_name_for_all(model["name"]), saved)
        write_adapter(part, base, trained.adapter, settings.adapter.scaling, pad_rank, published)
    if about["weights"]:
        content = {n: t.contiguous() for n, t in weights.items()}
        write_whole(part / str(about["weights"]), save(content, {"format": "pt"}))
        if about_model:
            about_model.describe(part, trained.label_names, **settings.model.options)
            model["name"] = _HERE
    elif Path(model["name"]).is_dir():
        about["folder"] = Path(model.pop("name")).absolute().name
    write_whole(part / "base.json", json.dumps(about, indent=2).encode())
    return about


def _name_for_all(name: str) -> str | None:
    """Return a pre-trained model's name on the hub; None for a folder of this machine."""
    return None if Path(name).is_dir() else name


class _About(BaseModel):
    """What ``base.json`` of an export holds."""

    model_config = ConfigDict(extra="ignore", strict=True)

    model: MethodSettings
    input_shape: Annotated[list[PositiveInt], Field(max_length=8)]
    classes: PositiveInt
    weights: Literal["base.safetensors", "model.safetensors"] | None
    folder: str | None = None


def load_base(folder: str | Path, trust: bool = False, base: str | Path | None = None) -> nn.Module:
    """Build the model that an export folder describes, in evaluation mode.

    Of a folder without ``--merge`` this is the base for ``PeftModel.from_pretrained``; of a
    merged one it is the whole model. The folder may have come from anywhere: nothing in it is
    imported or called, its weights are safetensors, and no memory is taken for a model before
    the folder holds weights of its size. An adapter beside the base is looked at, too, since
    PEFT reads it next.

    Args:
        folder: as ``polyrank export`` wrote it.
        trust: import and call a model of somebody's own that ``base.json`` names, or load a
            pre-trained model from the path on this machine that it names.
        base: the folder of the pre-trained model on this machine, for the export of a run that
            read it from a folder.

    Raises:
        AdapterError: the folder was not written by ``polyrank export``, does not hold together,
            or needs ``trust``.
    """
    path = Path(folder)
    found = read_object(path / "base.json", AdapterError, "base.json of 'polyrank export'")
    try:
        about = _About.model_validate(found)
    except ValidationError as error:
        said = error.errors(include_url=False)[0]
        key = ".".join(map(str, said["loc"]))
        raise AdapterError(f"{path / 'base.json'}: {key}: {said['msg']}") from error
    if not trust:
        _refuse_elsewhere(about, path)
    if (path / "adapter_config.json").exists():
        check_adapter_folder(path)
    try:
        return _built(_placed(about, path, base), path).eval()
    except (OSError, SafetensorError, SettingsError) as error:
        raise AdapterError(f"{path}: {error}") from error


def _built(about: _About, path: Path) -> nn.Module:
    factory = MODELS.build(about.model)
    if about.weights is None:
        if factory.pretrained is None:
            said = f"expected the weights of model {about.model.kind!r}"
            raise AdapterError(f"{path}: base.json: {said}")
        return factory.model(about.input_shape, about.classes, seed=0)
    model = factory.shell(about.input_shape, about.classes)
    put_weights(model, load_file(path / about.weights))
    return model


def _placed(about: _About, path: Path, base: str | Path | None) -> _About:
    """Say where the pre-trained model is: where the caller says, or in the export itself."""
    if about.folder and base is None:
        raise AdapterError(
            f"{path}: the run read its pre-trained model from a folder {about.folder!r}: expected "
            "base, that folder on this machine, got none"
        )
    if base is None and about.model.options.get("name") == _HERE:
        base = path
    if base is None:
        return about
    model = MethodSettings(**{**about.model.model_dump(), "name": str(base)})
    return about.model_copy(update={"model": model})


def _refuse_elsewhere(about: _About, path: Path) -> None:
    """Refuse a model that is code of somebody's own, or a path on this machine.

    Raises:
        AdapterError: it is; the name is shown.
    """
    model = about.model
    how = f"if you trust who made this folder: load_base({str(path)!r}, trust=True)"
    if model.kind not in MODELS.own:
        raise AdapterError(
            f"{path}: base.json names a model that is not PolyRank's own, {model.kind!r}, which "
            f"would be imported and called; {how}"
        )
    name = model.options.get("name")
    if name == _HERE and about.weights:
        return
    if name is not None and not (isinstance(name, str) and _HUB_NAME.fullmatch(name)):
        raise AdapterError(
            f"{path}: base.json names a pre-trained model at a path, {name!r}, and not by its name "
            f"on the hub; {how}"
        )


def _round_of(folder: RunFolder, header: Mapping[str, Any], client: str) -> int:
    """Return the round in which a client last trained."""
    plan: Mapping[str, Any] = header["plan"]
    if client not in plan:
        raise RunFolderError(
            f"{folder.path}: there is no client {client!r}{nearest(client, plan)}; "
            f"the clients are {', '.join(map(one_line, list(plan)[:20]))}"
        )
    if client not in header["trained"]:
        raise RunFolderError(f"{folder.path}: client {client!r} has not trained in any round")
    last: int = header["trained"][client]
    return last
