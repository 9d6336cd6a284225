"""Build the base that an export folder describes: nothing in the folder is imported or believed."""

import re
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, PositiveInt, ValidationError
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import nn

from polyrank.disk.outside import read_object
from polyrank.errors import AdapterError, SettingsError
from polyrank.models import MODELS
from polyrank.models.weights import put_weights
from polyrank.peft_bridge import check_adapter_folder
from polyrank.settings.tables import MethodSettings

HERE = "."  # the name of a pre-trained model that the export itself describes
_HUB_NAME = re.compile(r"\w[\w.-]*(/\w[\w.-]*)?")  # no absolute path, no ".."


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
    if base is None and about.model.options.get("name") == HERE:
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
    if name == HERE and about.weights:
        return
    if name is not None and not (isinstance(name, str) and _HUB_NAME.fullmatch(name)):
        raise AdapterError(
            f"{path}: base.json names a pre-trained model at a path, {name!r}, and not by its name "
            f"on the hub; {how}"
        )
