"""FLoRA: the mean goes into the base."""

from dataclasses import replace

import pytest
import torch

from polyrank.lora.base_change import no_change
from polyrank.lora.factors import NONE, start_factors
from polyrank.protocol.messages import Download, EvaluateTask, TaskId
from tests.aggregators.one_client import first, perform, prepared, stored, train_task


def test_flora_s_client_adds_what_it_missed_and_starts_anew(tmp_path):
    """One that comes late is sent the sum; its personal model is on the base that it had."""
    ready = prepared(tmp_path, aggregator="flora")
    trainer = ready.crew.performer().trainer
    shapes = {m: (s.d_out, s.d_in) for m, s in ready.server.shapes.items()}
    generator = torch.Generator().manual_seed(3)
    change = no_change(shapes, torch.float32)
    for _ in range(2):
        change = change.stepped(
            {
                m: (
                    0.1 * torch.randn(d_out, 1, generator=generator),
                    0.1 * torch.randn(1, d_in, generator=generator),
                )
                for m, (d_out, d_in) in shapes.items()
            }
        )
    task = train_task(ready, "flora", 3, first(ready), base=change.patch(0))
    assert all(f.parts == NONE for f in task.download.adapter.values())
    perform(trainer, replace(task, rate=1e-7))
    for module, factors in stored(trainer, 3).items():
        d_out, d_in = shapes[module]
        drawn = start_factors((d_in, d_out), 3, 0, module, round=2)
        torch.testing.assert_close(factors.a, drawn.a, atol=1e-6, rtol=0)
        assert torch.equal(trainer.model.state.own_base(2)[module], change.totals[module])
    fresh = ready.crew.performer().trainer  # another process, later
    counted = perform(fresh, EvaluateTask(TaskId("t", 3, "0"), None))
    expected = perform(
        fresh,
        EvaluateTask(
            TaskId("t", 3, "0"),
            Download(stored(trainer, 3), ready.server.extras, change.whole()),
        ),
    )
    assert counted.loss == pytest.approx(expected.loss, rel=1e-5)
