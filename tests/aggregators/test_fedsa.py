"""FedSA-LoRA: b stays with its client."""

from dataclasses import replace

import torch

from polyrank.lora.factors import A
from tests.aggregators.one_client import first, perform, prepared, stored, train_task


def test_fedsa_keeps_b_and_begins_with_it_again(tmp_path):
    ready = prepared(tmp_path, aggregator="fedsa")
    trainer = ready.crew.performer().trainer
    start = first(ready)
    update = perform(trainer, train_task(ready, "fedsa", 1, start))
    own = stored(trainer, 1)
    assert {f.parts for f in update.adapter.values()} == {A}
    assert all(f.b.abs().sum() > 0 for f in own.values())
    perform(trainer, replace(train_task(ready, "fedsa", 2, start, last=1), rate=1e-7))
    for module, factors in stored(trainer, 2).items():
        torch.testing.assert_close(factors.b, own[module].b, atol=1e-6, rtol=0)


def test_fedsa_s_new_slots_begin_as_lora_does(tmp_path):
    ready = prepared(tmp_path, aggregator="fedsa")
    trainer = ready.crew.performer().trainer
    perform(trainer, train_task(ready, "fedsa", 1, first(ready), rank=2))
    task = train_task(ready, "fedsa", 2, first(ready), rank=4, last=1)
    perform(trainer, replace(task, rate=1e-7))
    for factors in stored(trainer, 2).values():
        assert (factors.b[:, :2].norm(dim=0) > 0.1).all()
        assert factors.b[:, 2:].abs().max() < 1e-6
