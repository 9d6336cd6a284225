"""Pre-trained models of Hugging Face, through its Auto classes.

The modules keep their own names, so that an exported adapter fits the model wherever it is
loaded with transformers.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn

from polyrank.models.hf_inputs import encode_for_model
from polyrank.models.hf_library import NO_CODE, loading, padding_token
from polyrank.models.packed import need_bitsandbytes
from polyrank.models.pretrained import Pretrained, pretrained
from polyrank.models.weights import put_weights, read_weights

_AUTO = {
    "sequence-classification": "AutoModelForSequenceClassification",
    "causal-lm": "AutoModelForCausalLM",
    "image-classification": "AutoModelForImageClassification",
}
_DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}

HfTask = Literal["sequence-classification", "causal-lm", "image-classification"]


def hf_shell(
    *, classes: int, name: str, task: HfTask = "sequence-classification", **_: object
) -> nn.Module:
    """Build the model of ``hf`` with empty parameters on torch's "meta" device."""
    from accelerate import init_empty_weights

    with loading(name) as transformers:
        config = transformers.AutoConfig.from_pretrained(name, **NO_CODE, **_of_task(task, classes))
        with init_empty_weights(include_buffers=False):
            model = getattr(transformers, _AUTO[task]).from_config(config, **NO_CODE)
        model.tie_weights()
    return _ready(model)


def head_modules(model: nn.Module) -> list[str]:
    """Return the outermost modules that are not the pre-trained body, such as ``classifier``."""
    body = getattr(model, "base_model_prefix", "")
    return [n for n, m in model.named_children() if n != body and any(True for _ in m.parameters())]


def new_modules(model: nn.Module) -> list[str]:
    """Return the head, where it is new; a language model's comes with the model."""
    return [] if _is_language_model(model) else head_modules(model)


def describe(
    folder: Path,
    labels: Sequence[str],
    *,
    name: str,
    task: HfTask = "sequence-classification",
    **_: object,
) -> None:
    """Write the configuration, and the tokeniser or preprocessor, that merged weights need.

    A classifier's configuration has the names of its labels, which pipelines of transformers
    answer with.
    """
    with loading(name) as transformers:
        config = transformers.AutoConfig.from_pretrained(
            name, **NO_CODE, **_of_task(task, len(labels))
        )
        if task != "causal-lm":
            config.id2label = dict(enumerate(labels))
            config.label2id = {label: number for number, label in enumerate(labels)}
        shell = hf_shell(classes=len(labels), name=name, task=task)
        config.architectures = [type(shell).__name__]
        config.save_pretrained(folder)
    write_preparation(folder, name=name, task=task)


def write_preparation(
    folder: Path, *, name: str, task: HfTask = "sequence-classification", **_: object
) -> None:
    """Write the tokeniser, or of a model for images the preprocessor."""
    with loading(name) as transformers:
        if task == "image-classification":
            said, _more = transformers.ImageProcessingMixin.get_image_processor_dict(name)
            (folder / "preprocessor_config.json").write_text(json.dumps(said, indent=2), "utf-8")
        else:
            transformers.AutoTokenizer.from_pretrained(name, **NO_CODE).save_pretrained(folder)


def drawn_weights(model: Any) -> frozenset[str]:  # noqa: ANN401 - it carries what loading said
    """Return the names of the weights that the published model lacks, or has in another shape."""
    return frozenset(getattr(model, "drawn_weights", ()))


@pretrained(
    Pretrained(
        hf_shell,
        head_modules,
        new_modules,
        drawn_weights,
        describe,
        write_preparation,
        encode_for_model,
    )
)
def hf(
    *,
    classes: int,
    name: str,
    task: HfTask = "sequence-classification",
    max_length: int | None = None,
    dtype: Literal["fp32", "bf16", "fp16", "nf4"] = "fp32",
) -> nn.Module:
    """Load a pre-trained model of Hugging Face; to classify, with a new head for the labels.

    Args:
        classes: number of labels.
        name: a folder of ``save_pretrained``, or a name on the hub.
        task: what the model is for.
        max_length: tokens of a text that are kept; by default what the model takes, at most 512.
        dtype: of the frozen weights; the head and LoRA are float32 always. ``nf4``: linear
            layers in 4 bits, as in QLoRA, and all else in float32.

    Raises:
        SettingsError: transformers is not installed, or there is no such model for the task.
    """
    if dtype == "nf4":
        return _four_bit(classes, name, task)
    with loading(name) as transformers:
        made, said = getattr(transformers, _AUTO[task]).from_pretrained(
            name,
            dtype=_DTYPES[dtype],
            ignore_mismatched_sizes=True,
            output_loading_info=True,
            use_safetensors=True,
            **NO_CODE,
            **_of_task(task, classes),
        )
    return _with_drawn(_ready(made), said)


def _four_bit(classes: int, name: str, task: HfTask) -> nn.Module:
    """Load weights that are packed one by one as they are read, all but those of the head."""
    need_bitsandbytes()
    with torch.random.fork_rng(devices=[]):
        shell = hf_shell(classes=classes, name=name, task=task)
    with loading(name) as transformers:
        packing = transformers.BitsAndBytesConfig(
            load_in_4bit=True,
            bnb_4bit_quant_type="nf4",
            bnb_4bit_use_double_quant=True,
            llm_int8_skip_modules=head_modules(shell),
        )
        made, said = getattr(transformers, _AUTO[task]).from_pretrained(
            name,
            dtype=torch.float32,
            quantization_config=packing,
            device_map={"": "cpu"},
            ignore_mismatched_sizes=True,
            output_loading_info=True,
            use_safetensors=True,
            **NO_CODE,
            **_of_task(task, classes),
        )
    put_weights(shell, read_weights(made))
    return _with_drawn(shell, said)


def _with_drawn(model: Any, said: Mapping[str, Any]) -> nn.Module:  # noqa: ANN401
    """Keep which weights were drawn, from what transformers says of loading them."""
    mismatched = {name for name, *_ in said["mismatched_keys"]}
    model.drawn_weights = {*said["missing_keys"], *mismatched}
    made: nn.Module = model
    return made


def _of_task(task: HfTask, classes: int) -> dict[str, Any]:
    return {} if task == "causal-lm" else {"num_labels": classes}


def _is_language_model(model: Any) -> bool:  # noqa: ANN401
    return model.get_output_embeddings() is not None


def _ready(model: nn.Module) -> nn.Module:
    """Keep the head in float32, whatever reaches it, and name the token that fills up."""
    for name in new_modules(model):
        for module in model.get_submodule(name).float().modules():
            if next(module.parameters(recurse=False), None) is not None:
                module.register_forward_pre_hook(_as_weights)
    config: Any = model.config
    config.pad_token_id = padding_token(config)
    config.use_cache = False
    return model


def _as_weights(module: nn.Module, inputs: tuple[Any, ...]) -> tuple[Any, ...]:
    dtype = next(module.parameters(recurse=False)).dtype
    return tuple(
        x.to(dtype) if isinstance(x, Tensor) and x.is_floating_point() else x for x in inputs
    )
