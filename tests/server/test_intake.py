"""Rounds with one client that is not like the others, and what the model is without it."""

import json
import math
import random
from dataclasses import replace

import numpy as np
import pytest
import torch

import polyrank
from polyrank.aggregators import AGGREGATORS
from polyrank.aggregators.aggregator import ServerModel
from polyrank.errors import MessageError, QuorumError
from polyrank.lora.factors import Factors, prefix, start_factors
from polyrank.protocol.messages import Download, Failure, TaskId, TrainTask, Update
from polyrank.protocol.wire import pack, unpack
from polyrank.server.federation import Federation
from polyrank.server.intake import Intake, is_finite
from polyrank.server.rules import rules_of
from polyrank.server.state import ServerState
from polyrank.server_optimizers import SERVER_OPTIMIZERS
from tests.small import small

SHAPES, SLOTS, CLIENTS = {"fc1": (5, 7), "fc2": (7, 3)}, 4, "abcde"
FIVE = {"kind": "iid", "clients": 5}
SAFE = {"server_optimizer": "fedavgm", "average": 0.8}


class Clients:
    """Answer at once with factors of their own; ``c`` answers what it is told to."""

    def __init__(self, aggregator, bad=None):
        self.aggregator, self.bad = aggregator, bad

    def run(self, tasks, patience):
        for task in tasks:
            answer = self.good(task)
            yield task, self.bad(answer) if self.bad and task.id.client == "c" else answer

    def good(self, task):
        rule, adapter = self.aggregator.local(task.id.round), {}
        for module, shape in SHAPES.items():
            slots = task.slots[module] if task.slots else task.download.adapter[module].slots
            seed = 100 * task.id.round + ord(task.id.client)
            drawn = start_factors(shape, SLOTS, seed, module).take(slots)
            b = torch.full_like(drawn.b, seed / 1000)
            adapter[module] = Factors(drawn.a, b, drawn.slots).only(rule.sends)
        extras = {n: t + 1 for n, t in task.download.extras.items()}
        return Update(task.id, adapter, extras, examples=10, loss=1.0, steps=3)


def federation(aggregator="anchored", bad=None, without=(), **changes):
    settings = small(aggregator=aggregator, rounds=9, **{**SAFE, **changes})
    made = AGGREGATORS.build(aggregator)
    optimizer = SERVER_OPTIMIZERS.build(settings.server_optimizer)
    roster = {client: 10 for client in CLIENTS if client not in without}
    return Federation(rules_of(settings), made, Clients(made, bad), roster, optimizer=optimizer)


def start():
    adapter = {m: start_factors(shape, SLOTS, 0, m) for m, shape in SHAPES.items()}
    extras = {"head.bias": torch.zeros(3), "norm.count": torch.tensor(4)}
    rank = dict(zip(CLIENTS, (1, 2, 2, 3, 4), strict=True))
    plan = {c: {m: prefix(r) for m in SHAPES} for c, r in rank.items()}
    return ServerState(ServerModel(adapter, extras), plan)


def same(left, right):
    tensors = [[t for f in m.adapter.values() for t in (f.a, f.b)] for m in (left, right)]
    tensors = [[*t, *m.extras.values()] for t, m in zip(tensors, (left, right), strict=True)]
    return all(torch.equal(x, y) for x, y in zip(*tensors, strict=True))


def without_c(aggregator="anchored"):
    return federation(aggregator, without="c").next_round(start())[0]


def factors(update, change):
    return replace(update, adapter={m: change(f) for m, f in update.adapter.items()})


HUGE = {
    "factors": lambda u: factors(u, lambda f: Factors(f.a * 1e25, f.b * 1e25, f.slots)),
    "one factor": lambda u: factors(
        u, lambda f: replace(f, b=f.b * 1e30) if f.b.numel() else replace(f, a=f.a * 1e30)
    ),
    "extras": lambda u: replace(
        u, extras={n: t.clone().fill_(3e38) if t.is_floating_point() else t
                   for n, t in u.extras.items()}
    ),
    "a hundred times": lambda u: factors(u, lambda f: Factors(f.a * 100, f.b * 100, f.slots)),
    "examples": lambda u: replace(u, examples=1e300),
    "examples, a whole number": lambda u: replace(u, examples=10**400),
}  # fmt: skip


@pytest.mark.parametrize("aggregator", [n for n in AGGREGATORS if n != "fedavg"])
@pytest.mark.parametrize("what", HUGE)
def test_what_is_finite_and_huge_is_refused_and_leaves_no_trace(aggregator, what):
    loop = federation(aggregator, HUGE[what])
    state, record = loop.next_round(start())
    (refused,) = [turn for turn in record.turns if turn.refused]
    assert refused.client == "c"
    assert "norm_bound" in refused.refused or "examples" in refused.refused
    assert same(state.model, without_c(aggregator).model)
    assert same(state.exported, without_c(aggregator).exported)


def test_honest_updates_are_far_within_the_bound():
    _, record = federation().next_round(start())
    times = [turn.times_median for turn in record.turns]
    assert min(times) < 1 <= max(times) < 3


def test_where_all_grow_alike_none_is_refused():
    """A high learning rate: every update is far larger than what was sent, and none than others."""

    class All(Clients):
        def good(self, task):
            return HUGE["a hundred times"](super().good(task))

    loop = federation()
    loop = replace(loop, engine=All(loop.aggregator))
    state, record = loop.next_round(start())
    assert all(turn.accepted for turn in record.turns)
    assert is_finite(state.model)
    assert not same(state.model, start().model)


def test_without_a_bound_a_model_that_is_not_finite_is_not_kept_and_its_cause_is_refused():
    def bad(update):
        return factors(update, lambda f: Factors(f.a * 1e38, f.b * 1e38, f.slots))

    loop = federation("rbla", bad, norm_bound=0, average=0.0, attempts=2)
    state, record = loop.next_round(start())
    assert is_finite(state.model)
    assert [turn.client for turn in record.earlier if turn.refused] == ["c"]
    assert "NaN or infinite" in next(turn.refused for turn in record.earlier if turn.refused)
    assert "c" not in [turn.client for turn in record.turns]
    once = federation("rbla", bad, norm_bound=0, attempts=1)
    with pytest.raises(QuorumError, match="client c: with it the next model has NaN"):
        once.next_round(start())


def test_a_client_that_is_left_out_of_the_next_attempt_is_still_missing_for_the_quorum():
    def bad(update):
        return factors(update, lambda f: Factors(f.a * 1e38, f.b * 1e38, f.slots))

    four = federation("rbla", bad, norm_bound=0, average=0.0, quorum=4)
    assert len(four.next_round(start())[1].turns) == 4
    five = federation("rbla", bad, norm_bound=0, average=0.0, quorum=5, partition=FIVE)
    with pytest.raises(QuorumError, match="the quorum is 5"):
        five.next_round(start())


def test_without_a_bound_the_update_that_did_it_is_named_when_all_others_fail():
    """Round 1 takes an update that is 1e6 times as large; in round 2 every client fails."""
    loop = federation("rbla", HUGE["a hundred times"], norm_bound=0)
    state, _ = loop.next_round(start())

    class Failing(Clients):
        def run(self, tasks, patience):
            for task in tasks:
                yield task, Failure(task.id, "loss is nan")

    with pytest.raises(QuorumError, match=r"round 1 took an update of client 'c' that was \d+"):
        replace(loop, engine=Failing(loop.aggregator)).next_round(state)


class Odd(torch.Tensor):
    """A subclass with an opinion of its own."""


def mutations(rng, update):
    """One thing that is wrong with an update."""
    name = rng.choice(["examples", "loss", "steps", "seconds", "id", "adapter", "extras"])
    odd = [None, "12", -1, 0, math.nan, math.inf, -math.inf, 1e300, 10**400, 3.4e39, [], {}, True,
           b"x", 2.5, np.float64(3), torch.tensor(3.0), object()]  # fmt: skip
    if name not in ("adapter", "extras") or rng.random() < 0.1:
        return replace(update, **{name: rng.choice(odd)})
    module = rng.choice(list(SHAPES))
    old = update.adapter[module]
    tensor = {"a": old.a, "b": old.b, "slots": old.slots, "extra": update.extras["head.bias"]}
    part = rng.choice(list(tensor))
    t = tensor[part].clone()
    number = rng.choice([math.nan, math.inf, -math.inf, 3e38, 1e25, -1e12, 1e4])
    changed = rng.choice(
        [
            lambda: t.double(),
            lambda: t.half(),
            lambda: t.bool(),
            lambda: t[:0],
            lambda: t.flatten(),
            lambda: t.unsqueeze(0),
            lambda: t.expand(3, *t.shape),
            lambda: t.to_sparse(),
            lambda: t.to("meta"),
            lambda: t.float().requires_grad_(),
            lambda: torch.nn.Parameter(t.float()),
            lambda: t.as_subclass(Odd),
            lambda: t.numpy(),
            lambda: t.tolist(),
            lambda: None,
            lambda: torch.full_like(t.float(), number),
            lambda: t.float().index_fill(0, torch.tensor([0]), number),
            lambda: torch.complex(t.float(), t.float()),
            lambda: t + 1,
            lambda: -t,
        ]
    )()
    if part == "extra":
        rest = {n: e for n, e in update.extras.items() if n != "head.bias"}
        key = rng.choice(["head.bias", "head.bias", "other", 3, None])
        return replace(update, extras={key: changed, **rest})
    key = rng.choice([module, module, module, "other", 3, None])
    new = replace(old)
    object.__setattr__(new, part, changed)  # past what the type itself makes of its fields
    return replace(update, adapter={**update.adapter, key: new})


@pytest.mark.parametrize("aggregator", ["anchored", "rbla", "hetlora", "fedex"])
def test_whatever_comes_is_refused_or_taken_and_the_model_is_finite(aggregator):
    """Made-up updates, each with one thing wrong: no exception, no trace of what was refused."""
    rng, expected = random.Random(0), without_c(aggregator)
    refused = 0
    for _ in range(300):
        loop = federation(aggregator, lambda update: mutations(rng, update))
        state, record = loop.next_round(start())
        (turn,) = [t for t in record.turns if t.client == "c"]
        json.dumps([turn.refused, turn.examples, turn.loss, turn.steps, turn.up])
        refused += not turn.accepted
        assert is_finite(state.model, state.average, memory=state.memory)
        assert all(not t.requires_grad for f in state.model.adapter.values() for t in (f.a, f.b))
        if not turn.accepted:
            assert same(state.model, expected.model)
    assert 200 < refused < 300


def test_damaged_bytes_are_one_kind_of_error():
    adapter = {m: f.take(prefix(2)) for m, f in start().model.adapter.items()}
    good = pack(Update(TaskId("r", 1, "c"), adapter, {"bias": torch.zeros(3)}, 5, 1.0))
    rng, damaged = random.Random(0), 0
    for _ in range(500):
        data = bytearray(good)
        for _ in range(rng.randint(1, 4)):
            kind = rng.random()
            if kind < 0.6:
                data[rng.randrange(min(len(data), 900))] ^= 1 << rng.randrange(8)
            elif kind < 0.8:
                del data[rng.randrange(len(data)) :]
            else:
                data[rng.randrange(len(data) + 1) : 0] = rng.randbytes(3)
            if not data:
                break
        try:
            unpack(bytes(data))
        except MessageError:
            damaged += 1
    assert damaged > 200


def hot(argument):
    """Ten clients of whom one has features a thousand times too large."""
    from polyrank.datasets.digits import digits

    data = digits(argument)
    names = np.array([f"c{k % 10}" for k in range(len(data.train_y))])
    x = data.train_x.copy()
    x[names == "c3"] *= 1000
    return replace(data, train_x=x, train_groups=names)


@pytest.mark.parametrize("aggregator", ["anchored", "rbla", "fedex"])
def test_an_honest_client_with_features_out_of_scale_costs_its_own_part(tmp_path, aggregator):
    """Without a bound round 1 takes its update and by round 3 every update is NaN."""
    settings = small(
        data={"source": "tests.server.test_intake:hot", "validation": 0.0},
        partition="natural",
        aggregator=aggregator,
        training={
            "optimizer": "sgd",
            "learning_rate": 0.05,
            "momentum": 0.9,
            "batch_size": 64,
            "clip_norm": 0,
        },
        criteria=["label_count", "sample_count"],
        rounds=4,
    )
    summary = polyrank.run(settings, out=tmp_path / "run").summary
    lines = (tmp_path / "run" / "rounds.jsonl").read_text().splitlines()
    refused = [json.loads(line)["refused"] for line in lines[1:]]
    assert [[r["client"] for r in of] for of in refused] == [["c3"]] * 4
    assert summary["refused"] == 4
    assert summary["loss"]["final"] is not None
    off = settings.model_copy(update={"norm_bound": 0.0, "rounds": 8})
    with pytest.raises(QuorumError, match="round 1 took an update of client 'c3'"):
        polyrank.run(off, out=tmp_path / "off")


def test_an_optimiser_s_memory_must_be_finite_too():
    assert is_finite(memory={"m/fc/a": torch.ones(2)})
    assert not is_finite(memory={"m/fc/a": torch.tensor([1.0, torch.inf])})


def test_updates_that_are_large_together_are_taken_after_the_wait():
    """A thousand times what was sent, and the median of the round: all of them, or none, learnt."""
    fold = AGGREGATORS.build("rbla").fold
    old = Factors(torch.ones(2, 3), torch.ones(4, 2), prefix(2))
    model = ServerModel({"fc": old}, {})
    intake = Intake(fold, model, bound=100.0)
    new = Factors(1000 * old.a, 1000 * old.b, prefix(2))
    for client in "abc":
        id = TaskId("r", 1, client)
        update = Update(id, {"fc": new}, {}, examples=5, loss=1.0)
        intake.take(TrainTask(id, Download({"fc": old}, {}), 0.1), update, {"fc": old}, 5)
    taken = intake.finish()
    assert len(taken.accepted) == 3
    torch.testing.assert_close(taken.aggregated().adapter["fc"].a, new.a)
