"""FFA-LoRA: b alone is trained and travels."""

import torch

from polyrank.lora.factors import B, start_factors
from tests.aggregators.one_client import SLOTS, first, perform, prepared, stored, train_task


def test_ffa_trains_b_on_the_a_that_both_sides_draw(tmp_path):
    ready = prepared(tmp_path, aggregator="ffa")
    trainer = ready.crew.performer().trainer
    update = perform(trainer, train_task(ready, "ffa", 1, first(ready)))
    for module, factors in update.adapter.items():
        assert factors.parts == B
        drawn = start_factors(
            (ready.server.shapes[module].d_in, ready.server.shapes[module].d_out), SLOTS, 0, module
        )
        assert torch.equal(stored(trainer, 1)[module].a, drawn.a[:3])
        assert not torch.equal(factors.b, first(ready)[module].b[:, :3])
