"""From texts and images to examples as a model of Hugging Face takes them."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from polyrank.errors import SettingsError
from polyrank.inputs.arrays import Encoded, Examples
from polyrank.inputs.causal_texts import encode_causal
from polyrank.inputs.pixels import PixelExamples
from polyrank.inputs.tokenizing import encode_texts
from polyrank.models.hf_library import NO_CODE, loading, padding_token

MAX_LENGTH = 512


def encode_for_model(
    inputs: np.ndarray, labels: np.ndarray, cache: Path | None, options: Mapping[str, Any]
) -> Encoded:
    """Turn texts or images into examples as the model ``options["name"]`` takes them.

    Raises:
        SettingsError: ``max_length`` is more than the model has positions.
        DataError: the inputs are not of the form that the task takes.
    """
    if options.get("task") == "image-classification":
        return Encoded(_pixels(inputs, labels, options))
    take = encode_causal if options.get("task") == "causal-lm" else encode_texts
    name = options["name"]
    with loading(name) as transformers:
        config = transformers.AutoConfig.from_pretrained(name, **NO_CODE)
        tokenizer = transformers.AutoTokenizer.from_pretrained(name, **NO_CODE)
    length = _max_length(options.get("max_length"), config, tokenizer)
    return take(inputs, labels, tokenizer, length, padding_token(config), cache)


def _max_length(given: int | None, config: Any, tokenizer: Any) -> int:  # noqa: ANN401
    positions = getattr(config, "max_position_embeddings", None)
    if given is None:
        return min(MAX_LENGTH, int(tokenizer.model_max_length), positions or MAX_LENGTH)
    if given < 2 or given > (positions or given):
        raise SettingsError(
            f"model.max_length = {given}: expected 2 to {positions or 'any number of'} tokens, "
            "which is what the model has positions for"
        )
    return given


def _pixels(inputs: np.ndarray, labels: np.ndarray, options: Mapping[str, Any]) -> PixelExamples:
    """Take size, mean and deviation from the model's preprocessor_config.json."""
    if options.get("max_length") is not None:
        raise SettingsError("model.max_length: images have no tokens; leave it out")
    with loading(options["name"]) as transformers:
        said, _ = transformers.ImageProcessingMixin.get_image_processor_dict(options["name"])
    size = said.get("size", 224)
    if isinstance(size, Mapping):
        edge = size.get("shortest_edge")
        height, width = size.get("height", edge), size.get("width", edge)
    else:
        height = width = size
    crop = said.get("crop_size") if said.get("do_center_crop") else None
    if isinstance(crop, Mapping):
        height, width = crop["height"], crop["width"]
    plain = not said.get("do_normalize", True)
    mean, std = said.get("image_mean", [0.5] * 3), said.get("image_std", [0.5] * 3)
    return PixelExamples(
        Examples.from_arrays(inputs, labels),
        (int(height), int(width)),
        (0.0, 0.0, 0.0) if plain else tuple(mean),
        (1.0, 1.0, 1.0) if plain else tuple(std),
    )
