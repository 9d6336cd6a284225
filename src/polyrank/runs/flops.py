"""Floating-point operations of training a run's model on one row, counted as torch does them.

Counted are products of matrices, convolutions and attention, forward and backward, two operations
for a multiplication with its addition, as ``torch.utils.flop_counter`` has them.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from torch.nn import functional
from torch.utils.flop_counter import FlopCounterMode

from polyrank.inputs.arrays import ExampleSet
from polyrank.inputs.losses import predictions, targets
from polyrank.learning.forward import answers, choose_device
from polyrank.lora.factors import start_factors
from polyrank.peft_bridge import Bridge
from polyrank.record.schema import RanksByModule
from polyrank.runs.encoding import encode
from polyrank.runs.loading import load_own
from polyrank.runs.trained_model import read_trained
from polyrank.threads import one_thread

ROWS = 8  # of which the operations are a mean; texts differ in length


def training_flops(folder: Path, asked: Sequence[RanksByModule]) -> list[float]:
    """Return the operations of one training step on one row, for a client of each of these ranks.

    Both factors count as trained, and so do the extras. A finished run gives the model and rows.

    Args:
        folder: of a run that has saved a round; its settings are trusted.
        asked: rank of every adapted module, 0 for none.
    """
    trained = read_trained(folder, None)
    settings = trained.settings
    data = load_own(settings, None)
    examples = encode(settings, data.test_x[:ROWS], data.test_y[:ROWS], None).examples
    bridge = trained.bridge()
    with one_thread():
        return [_flops(bridge, examples, ranks, trained.extras) for ranks in asked]


def _flops(
    bridge: Bridge, examples: ExampleSet, ranks: RanksByModule, extras: Mapping[str, torch.Tensor]
) -> float:
    adapter = {
        module: start_factors((shape.d_in, shape.d_out), ranks[module], 0, module)
        for module, shape in bridge.shapes.items()
        if ranks.get(module)
    }
    bridge.load(adapter, extras)
    rows = torch.arange(len(examples))
    inputs, labels = examples.batch(rows)
    with FlopCounterMode(display=False) as counter:
        logits, wanted = (
            predictions(answers(bridge.model, inputs, choose_device("cpu")), labels),
            targets(labels),
        )
        functional.cross_entropy(logits, wanted).backward()
    return float(counter.get_total_flops()) / len(examples)
