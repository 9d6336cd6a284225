"""The README of an exported model: what it is, how it was trained, how good, how to load it."""

import html
import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from polyrank.errors import SettingsError
from polyrank.judging import judged_by, perplexity_text
from polyrank.plain import one_line
from polyrank.record.lines import FinalLine
from polyrank.record.summary import Summary
from polyrank.record.truncation import in_words
from polyrank.runs.loading_snippet import snippet
from polyrank.settings.schema import Settings

_LICENCE = re.compile(r"[a-z0-9][a-z0-9.-]{0,39}")  # as the hub names them, such as apache-2.0
_PIPELINES = {
    "sequence-classification": "text-classification",
    "causal-lm": "text-generation",
    "image-classification": "image-classification",
}


def model_card(
    settings: Settings,
    ranks: Mapping[str, int],
    rounds: int,
    *,
    client: str | None,
    merged: bool,
    summary: Summary | None,
    final: FinalLine | None = None,
    folder: str = "FOLDER",
    base: str | None = None,
    published: bool = False,
    labels: Sequence[str] = (),
    licence: str | None = None,
) -> str:
    """Write the README of an exported model as Markdown.

    Args:
        settings: of the run.
        ranks: module -> rank of the exported adapter.
        rounds: finished rounds behind it.
        client: whose model; None for the global one.
        merged: the adapter is merged into the base.
        summary: of a finished run; None leaves the metrics out.
        final: the client's own line of ``clients.jsonl``, if it has rows to be tested on.
        folder: the name of the exported one.
        base: the name of the folder that has to be at hand for the base, if there is one.
        published: the base is a pre-trained model as it was published, and is not written.
        labels: names of the labels, in the order of the logits.
        licence: of the model, as the hub names it.
    """
    lines = snippet(
        settings,
        folder,
        merged=merged,
        published=published,
        base=base,
        classes=len(labels),
    )
    whose = f"of client {_code(client)}" if client is not None else "(global)"
    front = _front(settings, merged=merged, base=base, licence=licence)
    parts = [
        "\n".join(front),
        f"# {_text(settings.name)}: federated LoRA adapter {whose}",
        f"Trained with PolyRank for {rounds} rounds: ranks by {_code(settings.allocator.kind)}, "
        f"aggregated with {_code(settings.aggregator.kind)}, seed {settings.seed}.",
        f"## Use\n\n```python\n{lines}\n```",
        *_inputs(settings),
        *_labels(labels),
        "## Training\n\n" + _table(_training(settings)),
        "## Ranks\n\n"
        + _table(
            [("module", "rank"), *((_text(m), str(r)) for m, r in ranks.items())], header=True
        ),
        *_truncation(summary, client),
        "## Metrics\n\n" + _metrics(summary, client) + _own(final),
        f"## Limits\n\nThe metrics hold for data like the run's own. {_of_licence(licence)} and "
        "nothing of what the base model's training data held; check both before you publish.",
    ]
    return "\n\n".join(parts) + "\n"


def check_licence(licence: str | None) -> None:
    """Raise SettingsError unless this can be the name of a licence on the hub."""
    if licence is not None and not _LICENCE.fullmatch(licence):
        raise SettingsError(
            f"license: expected a name as the hub has it, such as apache-2.0, got {licence!r}"
        )


def _front(settings: Settings, *, merged: bool, base: str | None, licence: str | None) -> list[str]:
    """Return the head of the card that the hub reads."""
    hf, name = settings.model.kind == "hf", settings.model.options.get("name")
    lines = ["---", f"library_name: {('transformers' if hf else 'polyrank') if merged else 'peft'}"]
    if hf and base is None and not Path(str(name)).is_dir():
        lines.append(f"base_model: {_yaml_text(name)}")
        lines.append(f"base_model_relation: {'finetune' if merged else 'adapter'}")
    if hf:
        task = str(settings.model.options.get("task", "sequence-classification"))
        lines.append(f"pipeline_tag: {_PIPELINES[task]}")
    if licence:
        lines.append(f"license: {licence}")
    return [*lines, "tags: [lora, federated-learning, polyrank]", "---"]


def _yaml_text(text: object) -> str:
    """Return a text for the head of the card, without what HTML or Markdown would act on."""
    return json.dumps(str(text)).replace("<", "\\u003c").replace(">", "\\u003e")


def _labels(labels: Sequence[str]) -> list[str]:
    if len(labels) < 2:
        return []
    rows = [("logit", "label"), *((str(k), _text(name)) for k, name in enumerate(labels))]
    return ["## Labels\n\n" + _table(rows, header=True)]


def _inputs(settings: Settings) -> list[str]:
    given = settings.data.normalise
    if given is None:
        return []
    mean, std = (", ".join(f"{n:g}" for n in numbers) for numbers in (given.mean, given.std))
    return [
        f"Inputs are to be normalised as in training, `(x - mean) / std`: mean {mean}, std {std}, "
        "where numbers of 8-bit images are 0 to 1. The model does not do it."
    ]


def _of_licence(licence: str | None) -> str:
    given = f"This model's licence is {licence}. " if licence else ""
    return f"{given}The card says nothing of the base model's licence"


def _training(settings: Settings) -> list[tuple[str, object]]:
    source = settings.data.source
    training = settings.training
    length = f"{training.steps} steps" if training.steps else f"{training.epochs} epochs"
    return [
        ("data", _data_name(source)),
        ("partition", _text(settings.partition.kind)),
        ("model", " ".join([_text(settings.model.kind), *_base_name(settings)])),
        ("local training", f"{training.optimizer}, {length} a round, batch {training.batch_size}"),
        ("learning rate", f"{training.learning_rate:g} ({training.schedule})"),
        ("scaling", _scaling(settings)),
    ]


def _scaling(settings: Settings) -> str:
    modules = {_text(name): own.scaling for name, own in settings.adapter.modules.items()}
    said = {"": settings.adapter.scaling, **modules}
    over = {"constant": "", "rank": " / rank", "sqrt_rank": " / root of the rank"}
    return "; ".join(
        f"{module}{': ' * bool(module)}{rule.alpha:g}{over[rule.per]}"
        for module, rule in said.items()
    )


def _data_name(source: str | Sequence[str]) -> str:
    if isinstance(source, str):
        return _text(_placeless(source))
    return f"{len(source)} files, one a client"


def _base_name(settings: Settings) -> list[str]:
    name = settings.model.options.get("name")
    return [_code(_placeless(str(name)))] if name else []


def _placeless(source: str) -> str:
    """Return a source without where it lies on this machine: ``csv:/a/b.csv`` as ``csv:b.csv``."""
    if Path(source).is_absolute():
        return Path(source).name
    kind, _, place = source.partition(":")
    return f"{kind}:{Path(place).name}" if Path(place).is_absolute() else source


def _truncation(summary: Summary | None, client: str | None) -> list[str]:
    """Write what the global model loses where it is cut to its first slots, if that is known."""
    found = summary.truncation if summary else None
    if found is None or client is not None:
        return []
    rows = [("slots", "loss")]
    rows += [(str(c.slots), "" if c.loss is None else f"{c.loss:.4f}") for c in found.curve]
    whose = {"server": "validation rows", "clients": "test rows of clients"}[found.held_by]
    return [
        "## How many slots it needs\n\n"
        f"The mean loss of this model cut to its first slots, on {found.rows} {whose}. "
        f"{in_words(found.curve)}\n\n{_table(rows, header=True)}"
    ]


def _metrics(summary: Summary | None, client: str | None) -> str:
    if summary is None:
        return "The run had not finished when this was written."
    judged, worst = summary.judged, summary.worst_client
    rows = [
        (judged, summary.ended.final),
        ("loss in nats a token", summary.loss.final if judged == "perplexity" else None),
        ("macro-F1", summary.macro_f1.final),
        ("balanced accuracy", summary.balanced_accuracy.final),
        (f"worst client's {judged}", worst.final if worst else None),
    ]
    if all(value is None for _, value in rows):
        return "The run did not evaluate its global model after training."
    own = ", not of this client's own" if client is not None else ""
    return f"Of the global model on the run's test rows{own}.\n\n{_shown(rows)}"


def _own(final: FinalLine | None) -> str:
    """Write what a client's own model does on its own test rows, beside what it came from."""
    if final is None or final.personal is None:
        return ""
    judged = judged_by(final.personal)
    models = {"this model": final.personal, "the global model": final.shared}
    if judged == "perplexity":  # a classifier's head is new: it knew nothing before
        models["before training"] = final.before
    rows = [(name, metrics[judged]) for name, metrics in models.items() if metrics]
    return f"\n\nOn this client's own test rows, {judged}:\n\n{_shown(rows)}"


def _shown(rows: Sequence[tuple[str, float | None]]) -> str:
    return _table(
        [
            (name, f"{value:.4f}" if value < 1e6 else perplexity_text(value))
            for name, value in rows
            if value is not None
        ]
    )


def _table(rows: Sequence[tuple[str, object]], *, header: bool = False) -> str:
    named = rows if header else [("", ""), *rows]
    lines = [f"| {left} | {right} |" for left, right in named]
    return "\n".join([lines[0], "| --- | --- |", *lines[1:]])


def _text(text: str) -> str:
    """Return a name as one line that Markdown takes for text, and a browser for no tag."""
    return html.escape(re.sub(r"([\\`*_{}\[\]#|~!$])", r"\\\1", one_line(text)), quote=False)


def _code(text: str) -> str:
    """Return a name in the type of code, unless something in it could end the code."""
    return f"`{text}`" if re.fullmatch(r"[\w.:/@ +-]+", text) else _text(text)
