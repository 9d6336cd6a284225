"""What clients do under each method, on the real model, against the dense computation."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from polyrank.aggregators import AGGREGATORS
from polyrank.aggregators.hetlora import tail_penalty
from polyrank.aggregators.local_rule import slots_sent
from polyrank.lora.base_change import no_change
from polyrank.lora.factors import NONE, A, B, Factors, prefix, start_factors
from polyrank.protocol.messages import Download, EvaluateTask, Failure, TaskId, TrainTask
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


def test_the_full_view_works_with_all_slots_and_trains_its_own(tmp_path):
    ready = prepared(tmp_path, aggregator="anchored")
    trainer = ready.crew.performer().trainer
    start = first(ready)
    update = perform(trainer, train_task(ready, "anchored", 1, start))
    for module, factors in update.adapter.items():
        kept = stored(trainer, 1)[module]
        assert factors.slots.tolist() == [0, 1, 2]
        assert torch.equal(kept.a[:3], factors.a)
        assert not torch.equal(factors.a, start[module].a[:3])
        assert torch.equal(kept.a[3:], start[module].a[3:])
        assert torch.equal(kept.b[:, 3:], start[module].b[:, 3:])


def logits_of_dense(ready, adapter, change=None):
    """The two-layer model written out, with merged weights."""
    base = {n: t.double() for n, t in ready.server.blueprint.base.items()}
    x = ready.server.rows["validation"].examples.batch(torch.arange(20))[0].double().flatten(1)
    for module in ("fc1", "fc2"):
        f = adapter[module]
        weight = base[f"{module}.weight"] + f.b.double() @ f.a.double()
        weight = weight + (change[module].double() if change else 0.0)
        x = x @ weight.T + base[f"{module}.bias"]
        x = x.relu() if module == "fc1" else x
    return x


def test_frozen_slots_and_the_change_of_the_base_are_in_the_forward_pass(tmp_path):
    ready = prepared(tmp_path)
    trainer = ready.crew.performer().trainer
    bridge, adapter = trainer.model.bridge, first(ready)
    inputs = ready.server.rows["validation"].examples.batch(torch.arange(20))[0]
    change = {m: 0.1 * torch.randn(len(f.b), f.a.shape[1]) for m, f in adapter.items()}
    own = {m: f.take(prefix(2)) for m, f in adapter.items()}
    frozen = {m: f.without(prefix(2)) for m, f in adapter.items()}
    for split in (False, True):
        given = own if split else adapter
        bridge.load(given, ready.server.extras, frozen=frozen if split else None, change=change)
        expected = logits_of_dense(ready, adapter, change)
        torch.testing.assert_close(bridge.model(inputs).double(), expected, atol=1e-4, rtol=1e-4)
    bridge.load(adapter, ready.server.extras)
    torch.testing.assert_close(
        bridge.model(inputs).double(), logits_of_dense(ready, adapter), atol=1e-4, rtol=1e-4
    )
    for module, weight in ready.server.blueprint.base.items():
        if module.endswith("weight"):
            assert torch.equal(bridge._weights[module.removesuffix(".weight")], weight)


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


def test_hetlora_s_penalty_is_the_product_of_the_norms_of_the_tail():
    """floor(0.5 * 4) = 2 slots stay; of rank 1 no slot is tail."""
    generator = torch.Generator().manual_seed(0)
    a, b = torch.randn(4, 3, generator=generator), torch.randn(5, 4, generator=generator)
    single = torch.ones(1, 3), torch.ones(5, 1)
    found = tail_penalty([(a, b), single], 0.5)
    expected = np.linalg.norm(b[:, 2:].numpy()) * np.linalg.norm(a[2:].numpy())
    assert float(found) == pytest.approx(expected)


def test_hetlora_s_penalty_shrinks_the_tail_and_has_a_gradient_where_b_is_zero(tmp_path):
    a = torch.randn(4, 3, generator=torch.Generator().manual_seed(0)).requires_grad_()
    b = torch.zeros(5, 4).requires_grad_()
    tail_penalty([(a, b)], 0.5).backward()
    assert torch.isfinite(a.grad).all()
    assert torch.isfinite(b.grad).all()
    tails = {}
    for penalty in (0.0, 1.0):
        kind = {"kind": "hetlora", "penalty": penalty, "decay": 0.5}
        ready = prepared(tmp_path / str(penalty), aggregator=kind, training={"epochs": 5})
        update = perform(
            ready.crew.performer().trainer, train_task(ready, "hetlora", 1, first(ready))
        )
        tails[penalty] = sum(
            float(f.b[:, 1:].norm() * f.a[1:].norm()) for f in update.adapter.values()
        )
    assert tails[1.0] < 0.5 * tails[0.0]
