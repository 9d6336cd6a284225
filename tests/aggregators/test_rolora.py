"""RoLoRA: the factors take turns."""

import torch

from polyrank.lora.factors import A, B, Factors
from tests.aggregators.one_client import SLOTS, first, perform, prepared, stored, train_task


def test_rolora_alternates_and_a_client_that_took_part_is_sent_the_other_factor_alone(tmp_path):
    ready = prepared(tmp_path, aggregator="rolora")
    trainer = ready.crew.performer().trainer
    start = first(ready)
    one = perform(trainer, train_task(ready, "rolora", 1, start))
    assert {f.parts for f in one.adapter.values()} == {B}
    averaged = {
        m: Factors(start[m].a, torch.nn.functional.pad(f.b, (0, SLOTS - 3)) * 0.5, start[m].slots)
        for m, f in one.adapter.items()
    }
    task = train_task(ready, "rolora", 2, averaged, last=1, current=True)
    assert {f.parts for f in task.download.adapter.values()} == {B}
    short = perform(trainer, task)
    whole = perform(ready.crew.performer().trainer, train_task(ready, "rolora", 2, averaged))
    for module, factors in short.adapter.items():
        assert factors.parts == A
        assert torch.equal(factors.a, whole.adapter[module].a)
        assert torch.equal(stored(trainer, 2)[module].b, averaged[module].b[:, :3])
