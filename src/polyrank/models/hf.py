"""Pre-trained models of Hugging Face, through its Auto classes.

The modules keep their own names, so that an exported adapter fits the model wherever it is
loaded with transformers.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn

from polyrank.causal_texts import encode_causal
from polyrank.errors import SettingsError
from polyrank.examples import Encoded
from polyrank.models.pretrained import Pretrained, pretrained
from polyrank.tokenizing import encode_texts

MAX_LENGTH = 512
_AUTO = {
    "sequence-classification": "AutoModelForSequenceClassification",
    "causal-lm": "AutoModelForCausalLM",
}
_DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}

Task = Literal["sequence-classification", "causal-lm"]


def hf_shell(
    *, classes: int, name: str, task: Task = "sequence-classification", **_: object
) -> nn.Module:
    """Build the model of ``hf`` with empty parameters on torch's "meta" device."""
    from accelerate import init_empty_weights

    with _loading(name) as transformers:
        config = transformers.AutoConfig.from_pretrained(name, **_of_task(task, classes))
        with init_empty_weights(include_buffers=False):
            model = getattr(transformers, _AUTO[task]).from_config(config)
        model.tie_weights()
    return _ready(model)


def head_modules(model: nn.Module) -> list[str]:
    """Return the outermost modules that are not the pre-trained body, such as ``classifier``."""
    body = getattr(model, "base_model_prefix", "")
    return [n for n, m in model.named_children() if n != body and any(True for _ in m.parameters())]


def new_modules(model: nn.Module) -> list[str]:
    """Return the head, where it is new; a language model's comes with the model."""
    return [] if _is_language_model(model) else head_modules(model)


def encode(
    inputs: np.ndarray, labels: np.ndarray, cache: Path | None, options: Mapping[str, Any]
) -> Encoded:
    """Tokenise texts as the model ``options["name"]`` takes them.

    Raises:
        SettingsError: ``max_length`` is more than the model has positions.
        DataError: the inputs are not texts, or not of the form that the task takes.
    """
    take = encode_causal if options.get("task") == "causal-lm" else encode_texts
    name = options["name"]
    with _loading(name) as transformers:
        config = transformers.AutoConfig.from_pretrained(name)
        tokenizer = transformers.AutoTokenizer.from_pretrained(name)
        length = _max_length(options.get("max_length"), config, tokenizer)
        return take(inputs, labels, tokenizer, length, _pad(config), cache)


def describe(
    folder: Path, classes: int, *, name: str, task: Task = "sequence-classification", **_: object
) -> None:
    """Write the model's configuration and its tokeniser, which stand beside merged weights."""
    with _loading(name) as transformers:
        config = transformers.AutoConfig.from_pretrained(name, **_of_task(task, classes))
        config.architectures = [type(hf_shell(classes=classes, name=name, task=task)).__name__]
        config.save_pretrained(folder)
        transformers.AutoTokenizer.from_pretrained(name).save_pretrained(folder)


@pretrained(Pretrained(hf_shell, head_modules, new_modules, describe, encode))
def hf(
    *,
    classes: int,
    name: str,
    task: Task = "sequence-classification",
    max_length: int | None = None,
    dtype: Literal["fp32", "bf16", "fp16"] = "fp32",
) -> nn.Module:
    """Load a pre-trained model of Hugging Face; to classify, with a new head for the labels.

    Args:
        classes: number of labels.
        name: a folder of ``save_pretrained``, or a name on the hub.
        task: what the model is for.
        max_length: tokens of a text that are kept; by default what the model takes, at most 512.
        dtype: of the frozen weights; the head and LoRA are float32 always.

    Raises:
        SettingsError: transformers is not installed, or there is no such model for the task.
    """
    with _loading(name) as transformers:
        made = getattr(transformers, _AUTO[task]).from_pretrained(
            name, dtype=_DTYPES[dtype], ignore_mismatched_sizes=True, **_of_task(task, classes)
        )
    return _ready(made)


def _of_task(task: Task, classes: int) -> dict[str, Any]:
    return {"num_labels": classes} if task == "sequence-classification" else {}


def _is_language_model(model: Any) -> bool:  # noqa: ANN401
    return model.get_output_embeddings() is not None


def _ready(model: nn.Module) -> nn.Module:
    """Keep the head in float32, whatever reaches it, and name the token that fills up."""
    for name in new_modules(model):
        for module in model.get_submodule(name).float().modules():
            if next(module.parameters(recurse=False), None) is not None:
                module.register_forward_pre_hook(_as_weights)
    config: Any = model.config
    config.pad_token_id = _pad(config)
    config.use_cache = False
    return model


def _as_weights(module: nn.Module, inputs: tuple[Any, ...]) -> tuple[Any, ...]:
    dtype = next(module.parameters(recurse=False)).dtype
    return tuple(
        x.to(dtype) if isinstance(x, Tensor) and x.is_floating_point() else x for x in inputs
    )


def _pad(config: Any) -> int:  # noqa: ANN401 - transformers has a class for each model
    """Return the padding token; where the model knows none its end of text, or 0."""
    found = getattr(config, "pad_token_id", None)
    if found is None:
        found = getattr(config, "eos_token_id", None)
    if isinstance(found, list):
        found = found[0]
    return int(found or 0)


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


@contextmanager
def _loading(name: str) -> Iterator[Any]:
    """Give transformers, quiet while it loads, with its errors as ours."""
    try:
        import transformers
    except ImportError as error:
        raise SettingsError(
            f"model 'hf', {name}: needs the package 'transformers': pip install 'polyrank[hf]'"
        ) from error
    said = transformers.logging.get_verbosity()
    bars = transformers.logging.is_progress_bar_enabled()
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    try:
        yield transformers
    except (OSError, ValueError, KeyError) as error:
        raise SettingsError(f"model 'hf', name = {name!r}: cannot be loaded: {error}") from error
    finally:
        transformers.logging.set_verbosity(said)
        if bars:
            transformers.logging.enable_progress_bar()
