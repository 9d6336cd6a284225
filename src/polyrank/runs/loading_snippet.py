"""The few lines of Python that load an exported model, with as little as they take.

An adapter for a model that is used as it was published needs PEFT alone, a merged one of
Hugging Face transformers alone. Anything else is built by ``polyrank.load_base``.
"""

import json

from polyrank.settings.schema import Settings

_TASKS = {
    "sequence-classification": "SequenceClassification",
    "causal-lm": "CausalLM",
    "image-classification": "ImageClassification",
}
_AUTO_PEFT = ("SequenceClassification", "CausalLM")  # those that PEFT itself has


def snippet(
    settings: Settings,
    folder: str,
    *,
    merged: bool,
    published: bool,
    base: str | None,
    classes: int,
) -> str:
    """Return the lines.

    Args:
        settings: of the run.
        folder: the name of the exported one.
        merged: whether the adapter is merged into the base.
        published: whether the base is a pre-trained model as it was published, and not written.
        base: the name of the folder that has to be at hand for the base, if there is one.
        classes: number of labels.
    """
    options, here = settings.model.options, json.dumps(folder)
    kind = _TASKS[str(options.get("task", "sequence-classification"))]
    hf = settings.model.kind == "hf"
    if hf and merged:
        cls = f"AutoModelFor{kind}"
        return f"from transformers import {cls}\n\nmodel = {cls}.from_pretrained({here})"
    if hf and published and options.get("dtype", "fp32") == "fp32":
        # another head than the published one's is new here, and comes with the adapter
        head = f", num_labels={classes}, ignore_mismatched_sizes=True" * (kind != "CausalLM")
        if base is None and kind in _AUTO_PEFT:
            cls = f"AutoPeftModelFor{kind}"
            return f"from peft import {cls}\n\nmodel = {cls}.from_pretrained({here}{head})"
        cls = f"AutoModelFor{kind}"
        place = json.dumps(base if base is not None else str(options["name"]))
        return (
            f"from peft import PeftModel\nfrom transformers import {cls}\n\n"
            f"base = {cls}.from_pretrained({place}{head})\n"
            f"model = PeftModel.from_pretrained(base, {here})"
        )
    loaded = f"{here}, base={json.dumps(base)}" if base else here
    if merged:
        return (
            "from polyrank import load_base\n\n"
            f"model = load_base({loaded})  # a torch module with the adapter merged in"
        )
    return (
        "from peft import PeftModel\nfrom polyrank import load_base\n\n"
        f"model = PeftModel.from_pretrained(load_base({loaded}), {here})"
    )
