"""Steps of the built-in ``cnn`` as runs take them, against PEFT's layers as torch lays them.

    python benchmarks/convolutions.py [--repeats N]

Prints for three widths and two sizes of batches, LoRA of rank 8 on every layer, the median of the
ratios of seconds, each taken within one repeat. Random images, seed 0, one thread.
"""

import argparse
import statistics
import time

import torch
from torch import Tensor, nn

from polyrank.learning.adapting import wrap
from polyrank.learning.blueprint import Blueprint
from polyrank.lora.factors import start_factors
from polyrank.models import MODELS
from polyrank.peft_bridge import Bridge, find_extras, find_targets
from polyrank.settings.toml import make_settings
from polyrank.threads import one_thread

WIDTHS = ([16, 32, 64], [32, 64, 128], [64, 128, 256])
BATCHES, SHAPE, CLASSES, RANK, STEPS, SEED = (8, 32), (3, 32, 32), 10, 8, 3, 0


def bridges(widths: list[int]) -> dict[str, Bridge]:
    """Build the model as a run does, and as torch does."""
    settings = make_settings({"model": {"kind": "cnn", "widths": widths}, "device": "cpu"})
    plain = MODELS.build(settings.model).model(SHAPE, CLASSES, SEED)
    base = {name: tensor.detach().clone() for name, tensor in plain.state_dict().items()}
    extras = find_extras(plain, find_targets(plain, "all"), "all")
    found = {
        "run": Blueprint(settings, base, SHAPE, CLASSES).build(),
        "torch": wrap(settings, plain),
    }
    for bridge in found.values():
        adapter = {
            name: start_factors((shape.d_in, shape.d_out), RANK, SEED, name)
            for name, shape in bridge.shapes.items()
        }
        bridge.load(adapter, extras)
        bridge.model.train()
    return found


def seconds(model: nn.Module, optimizer: torch.optim.Optimizer, x: Tensor, y: Tensor) -> float:
    """Return how long some steps take."""
    started = time.perf_counter()
    for _ in range(STEPS):
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(x), y).backward()
        optimizer.step()
    return time.perf_counter() - started


def main() -> None:
    """Print a line for each model and size of batches."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--repeats", type=int, default=7)
    given = parser.parse_args()
    torch.manual_seed(SEED)
    for widths in WIDTHS:
        models = {
            name: (bridge.model, torch.optim.SGD(bridge.trainable(), 0.01))
            for name, bridge in bridges(widths).items()
        }
        for rows in BATCHES:
            x, y = torch.randn(rows, *SHAPE), torch.randint(0, CLASSES, (rows,))
            taken = [
                {name: seconds(*of, x, y) for name, of in models.items()}
                for _ in range(given.repeats + 1)
            ][1:]  # the first one warms up
            ratio = statistics.median(t["run"] / t["torch"] for t in taken)
            whole = 1000 * statistics.median(t["torch"] for t in taken) / STEPS
            print(f"widths {widths}, {rows} images: {ratio:.2f} of torch's {whole:.0f} ms a step")


if __name__ == "__main__":
    with one_thread():
        main()
