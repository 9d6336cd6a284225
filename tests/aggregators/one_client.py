"""One client of a method, on a real small model."""

import torch

from polyrank.aggregators import AGGREGATORS
from polyrank.aggregators.local_rule import slots_sent
from polyrank.lora.factors import Factors, prefix, start_factors
from polyrank.protocol.messages import Download, Failure, TaskId, TrainTask
from polyrank.runs.preparation import prepare
from tests.small import small

SLOTS = 6


def prepared(tmp_path, **changes):
    return prepare(small(**changes), tmp_path / "clients")


def first(ready, seed=0):
    """The first factors, with something in b."""
    generator = torch.Generator().manual_seed(7)
    adapter = {}
    for name, s in ready.server.shapes.items():
        f = start_factors((s.d_in, s.d_out), SLOTS, seed, name)
        b = 0.1 * torch.randn(s.d_out, SLOTS, generator=generator)
        adapter[name] = Factors(f.a, b, f.slots)
    return adapter


def perform(trainer, task):
    answer = trainer.perform(task)
    assert not isinstance(answer, Failure), answer
    return answer


def train_task(ready, name, round, adapter, *, rank=3, last=None, current=False, base=None):
    rule = AGGREGATORS.build(name).local(round)
    slots = {m: prefix(rank) for m in adapter}
    sent = slots_sent(adapter, slots, rule, current=current)
    own = slots if rule.view == "all" else None
    return TrainTask(
        TaskId("t", round, "0"), Download(sent, ready.server.extras, base), 5.0, own, last
    )


def stored(trainer, round):
    return trainer.model.state.own("0", round)[0]
