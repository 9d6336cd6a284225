"""What a run keeps of its frozen base: all of it, or of a public model only what is new.

A pre-trained model that is used as it was published is not copied into the run folder. Its
hash is kept, so that another model under the same name is noticed.
"""

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from polyrank.disk.checkpoint import hash_of
from polyrank.errors import RunFolderError
from polyrank.lora.factors import Tensors
from polyrank.models import MODELS
from polyrank.models.weights import read_weights
from polyrank.settings.schema import Settings


def is_published(settings: Settings) -> bool:
    """Whether all of the base but its new head is a pre-trained model as it was published."""
    about = MODELS.build(settings.model).pretrained
    return about is not None and settings.base == "random" and settings.pretrain is None


def kept_part(settings: Settings, base: Tensors, classes: int) -> tuple[Tensors, dict[str, Any]]:
    """Return the tensors that the run must keep, and a header for their file."""
    if not is_published(settings):
        return base, {}
    new = _new_tensors(settings, base, classes)
    return new, {"published": hash_of({n: t for n, t in base.items() if n not in new})}


def whole_base(settings: Settings, kept: Tensors, header: Mapping[str, Any]) -> Tensors:
    """Rebuild the whole base from the part that was kept, and the header of its file.

    Raises:
        RunFolderError: the published model is not the one that the run began with.
    """
    if "published" not in header:
        return kept
    model = MODELS.build(settings.model).model(header["input_shape"], header["classes"], 0)
    published = {n: t for n, t in read_weights(model).items() if n not in kept}
    if hash_of(published) != header["published"]:
        raise RunFolderError(
            f"model {settings.model.options.get('name')!r}: expected the weights that the run "
            "began with, got others"
        )
    return {**published, **kept}


def _new_tensors(settings: Settings, base: Tensors, classes: int) -> dict[str, Tensor]:
    """Return the tensors of the head that did not come with the model."""
    factory = MODELS.build(settings.model)
    assert factory.pretrained is not None
    extras = factory.pretrained.extras(factory.shell((), classes))
    heads = tuple(f"{name}." for name in extras)
    return {n: t for n, t in base.items() if n.startswith(heads)}
