"""From a run folder to a folder that stands alone: a PEFT adapter with its base, or merged.

``base.json`` tells what builds the base, ``base.safetensors`` holds its weights with the
trained extras in place. ``exported_base.load_base`` gives the base back as a module. No file
tells where things lay on this machine.
"""

import json
import shlex
import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from safetensors.torch import save
from torch import Tensor

from polyrank.disk.files import write_whole
from polyrank.disk.outside import as_written
from polyrank.errors import RunFolderError, SettingsError
from polyrank.models import MODELS
from polyrank.models.weights import read_weights
from polyrank.peft_bridge import Published, saved_modules, write_adapter
from polyrank.record.lines import ClientLine, FinalLine
from polyrank.record.run_folder import RunFolder
from polyrank.runs.base import is_published
from polyrank.runs.exported_base import HERE
from polyrank.runs.model_card import check_licence, model_card
from polyrank.runs.own_model import is_own, read_own, settings_of
from polyrank.runs.trained_model import TrainedModel, read_trained
from polyrank.settings.trust import built_for_a_model, refuse_own_code

_ENDINGS = (".json", ".safetensors", ".model", ".jinja")  # of what an export may hold
_FILES = ("README.md", "vocab.txt", "merges.txt")
_PEFT_TASKS = {"sequence-classification": "SEQ_CLS", "causal-lm": "CAUSAL_LM"}


def export(
    path: str | Path,
    out: str | Path,
    *,
    client: str | None = None,
    merge: bool = False,
    pad_rank: int | None = None,
    licence: str | None = None,
    overwrite: bool = False,
    trust: bool = False,
) -> Path:
    """Write a trained model so that it can be used without PolyRank's run folder.

    The base of a pre-trained model that was used as it was published, and to which aggregation
    has added nothing, is not written: PEFT puts the adapter, with the modules trained in full,
    on the model of that name. Its tokeniser is. Merged, the folder is one that transformers loads.

    Without ``merge``: a PEFT adapter folder, with the base in ``base.safetensors`` and
    ``base.json``; ``PeftModel.from_pretrained(load_base(out), out)`` gives the logits of the
    run. With ``merge``: one ``model.safetensors`` with the adapter merged in, and ``base.json``.
    Both come with a model card, ``README.md``.

    Args:
        path: the run folder; at a client's host, what it keeps of the run.
        out: made; must be new or empty, unless ``overwrite`` is given.
        client: whose model; None for the global one.
        merge: merge the adapter into the base; weights of 4 bits become float32 first.
        pad_rank: pad all modules with zero slots to this one rank, as vLLM wants it.
        licence: of the model, for its card, as the Hugging Face hub names it: ``apache-2.0``.
        overwrite: put it in the place of an earlier export; any other folder stays as it is.
        trust: import and call the model where the run's settings name one of somebody's own.

    Raises:
        AdapterError: a module has more slots than ``pad_rank``.
        RunFolderError: nothing is saved, the client is unknown, ``out`` is not empty, or the
            model is code of somebody's own and ``trust`` is not given.
    """
    path, out = Path(path), Path(out)
    check_licence(licence)
    if merge and pad_rank is not None:
        raise SettingsError("a merged export has no ranks to pad: give merge or pad_rank")
    if not trust:
        whose = "--global" if client is None else f"--client {shlex.quote(client)}"
        command = f"export {whose} --out {shlex.quote(str(out))}" + " --merge" * merge
        settings = settings_of(path) if is_own(path) else RunFolder.open(path).settings
        refuse_own_code(settings, path, command, *built_for_a_model(settings))
    trained = read_own(path, client) if is_own(path) else read_trained(path, client)
    _check_free(out, overwrite)
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
                summary=run.read_summary() if not is_own(path) and run.finished else None,
                final=None if is_own(path) else _final_of(run.read_clients(), client),
                folder=out.absolute().name,
                base=about.get("folder"),
                published=about["weights"] is None,
                labels=trained.label_names,
                licence=licence,
            )
        write_whole(part / "README.md", card.encode())
        _open_to_others(part)
        if overwrite and out.exists():
            _clear(out)
        if out.exists():  # an empty folder that may be somebody's current one stays itself
            for file in part.iterdir():
                file.replace(out / file.name)
        else:
            part.replace(out)
    finally:
        shutil.rmtree(part, ignore_errors=True)
    return out


def _check_free(out: Path, overwrite: bool) -> None:
    """Raise RunFolderError unless something can be written to ``out``."""
    if not out.exists() or (out.is_dir() and not any(out.iterdir())):
        return
    if not overwrite:
        raise RunFolderError(f"{out}: there is something already; choose another folder")
    if not out.is_dir() or not (out / "base.json").is_file():
        raise RunFolderError(f"{out}: expected an earlier export to overwrite, got something else")
    ours = {p.name for p in out.iterdir() if p.suffix in _ENDINGS and p.is_file()} | {*_FILES}
    if other := sorted({p.name for p in out.iterdir()} - ours):
        raise RunFolderError(
            f"{out}: expected an export and nothing else to overwrite, got also {other[0]!r}"
        )


def _clear(out: Path) -> None:
    for file in out.iterdir():
        file.unlink()


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
    model, normalise = trained.settings.model.model_dump(), trained.settings.data.normalise
    about: dict[str, Any] = {
        "model": model,
        "input_shape": list(trained.input_shape),
        "classes": trained.classes,
        **({"columns": list(trained.columns)} if trained.columns else {}),
        **({"normalise": normalise.model_dump()} if normalise else {}),
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
        published = None
        if saved is not None:
            task = _PEFT_TASKS.get(str(model.get("task", "sequence-classification")))
            published = Published(_name_for_all(model["name"]), saved, task)
        scaling = trained.scaling(base)
        write_adapter(part, base, trained.adapter, scaling, pad_rank, published)
    if about["weights"]:
        content = {n: t.contiguous() for n, t in weights.items()}
        write_whole(part / str(about["weights"]), save(content, {"format": "pt"}))
        if about_model:
            about_model.describe(part, trained.label_names, **settings.model.options)
            model["name"] = HERE
    elif about_model:
        about_model.prepare(part, **settings.model.options)
        if Path(model["name"]).is_dir():
            about["folder"] = Path(model.pop("name")).absolute().name
    write_whole(part / "base.json", json.dumps(about, indent=2).encode())
    return about


def _name_for_all(name: str) -> str | None:
    """Return a pre-trained model's name on the hub; None for a folder of this machine."""
    return None if Path(name).is_dir() else name
