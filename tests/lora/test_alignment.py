"""Bits do not depend on where in memory a tensor lies, for tensors that are off on purpose."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from polyrank.aggregators import AGGREGATORS
from polyrank.aggregators.aggregator import ServerModel, aggregate
from polyrank.disk.checkpoint import join_model, load_tensors, save_tensors
from polyrank.engines.crew import Crew
from polyrank.engines.local import LocalEngine
from polyrank.inputs.arrays import RowView
from polyrank.lora.alignment import ALIGNED, aligned
from polyrank.lora.base_change import added
from polyrank.lora.factors import Factors, prefix, start_factors
from polyrank.models.weights import put_weights, share_weights
from polyrank.protocol.messages import Download, EvaluateTask, TaskId, TrainTask, Update
from polyrank.protocol.wire import pack, unpack
from polyrank.runs.preparation import prepare
from tests.small import small

OFF = pytest.mark.parametrize("off", [4, 8, 16])


def moved(tensor: Tensor, off: int) -> Tensor:
    """The same numbers, some bytes after a multiple of 64; type and shape are kept."""
    if not tensor.numel():
        return tensor
    room = bytearray(tensor.nbytes + 2 * ALIGNED)
    start = -torch.frombuffer(room, dtype=torch.uint8).data_ptr() % ALIGNED + off
    flat = torch.frombuffer(room, dtype=tensor.dtype, count=tensor.numel(), offset=start)
    assert flat.data_ptr() % ALIGNED == off
    return flat.view(tensor.shape).copy_(tensor)


def misplace(factors: Factors, off: int) -> Factors:
    """Factors made of tensors that are off, and of which b lies column by column."""
    b = moved(factors.b.T.contiguous(), off).T
    return Factors(moved(factors.a, off), b, moved(factors.slots, off))


@OFF
def test_only_what_lies_elsewhere_is_copied(off):
    whole = torch.rand(7, 5)
    assert aligned(whole) is whole
    for other in (moved(whole, off), whole.T, whole[:, 1:], whole[1:]):
        copy = aligned(other)
        assert torch.equal(copy, other)
        assert copy.is_contiguous()
        assert copy.data_ptr() % ALIGNED == 0


@OFF
def test_factors_lie_so_whatever_they_are_made_of(off):
    made = misplace(Factors(torch.rand(3, 5), torch.rand(4, 3), prefix(3)), off)
    for part in (made.a, made.b, made.take(torch.tensor([0, 2])).b):
        assert part.is_contiguous()
        assert part.data_ptr() % ALIGNED == 0


def a_model(prepared) -> ServerModel:
    adapter = {
        n: start_factors((s.d_in, s.d_out), 6, 0, n) for n, s in prepared.server.shapes.items()
    }
    adapter = {n: Factors(f.a, f.b + f.a.mean(), f.slots) for n, f in adapter.items()}
    return ServerModel(adapter, dict(prepared.server.extras))


def answers(prepared, off: int | None):
    """A training and an evaluation, everything in them off by some bytes."""

    def put(tensor: Tensor) -> Tensor:
        return tensor if off is None else moved(tensor, off)

    model, blueprint = a_model(prepared), prepared.server.blueprint
    blueprint = replace(blueprint, base={n: put(t) for n, t in blueprint.base.items()})
    train = prepared.server.rows["validation"].examples
    train = replace(train, inputs=put(train.inputs))
    sites = {
        client: replace(
            site,
            train=RowView(train, put(site.train.numbers)),
            test=RowView(train, put(site.test.numbers)),
        )
        for client, site in prepared.sites.items()
    }
    adapter = model.adapter
    if off is not None:
        adapter = {m: misplace(f, off) for m, f in adapter.items()}
    download = Download(adapter, {n: put(t) for n, t in model.extras.items()})
    engine = LocalEngine(Crew(blueprint, sites, None))
    tasks = [TrainTask(TaskId("small", 1, c), download, 1.0) for c in sites]
    tasks += [EvaluateTask(TaskId("small", 1, "0"), download)]
    return [answer for _, answer in engine.run(tasks)]


def bits(answer):
    if not isinstance(answer, Update):
        return answer.counts.counts.tolist(), answer.loss
    tensors = join_model(answer.adapter, answer.extras)
    return {n: t.tolist() for n, t in tensors.items()}, answer.loss


@OFF
def test_a_training_and_an_evaluation_have_the_same_bits(tmp_path, off):
    prepared = prepare(small(model={"kind": "mlp", "hidden": [17, 13]}), None)
    for given, other in zip(answers(prepared, None), answers(prepared, off), strict=True):
        assert bits(given) == bits(other)


@OFF
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("name", list(AGGREGATORS))
def test_an_aggregation_has_the_same_bits(name, dtype, off):
    """Wide factors: products of few numbers come out the same from any address."""
    generator = torch.Generator().manual_seed(3)
    start = start_factors((131, 67), 16, 0, "fc")
    adapter = {"fc": Factors(start.a.to(dtype), start.b.to(dtype), start.slots)}
    extras = {"bias": torch.rand(67, generator=generator)}
    aggregator = AGGREGATORS.build(name)
    sends = aggregator.local(1).sends
    ranks = [16, 16, 16] if aggregator.equal_ranks else [16, 9, 5]

    def update(client: int, rank: int) -> Update:
        drawn = torch.Generator().manual_seed(client)
        a = torch.rand(rank, 131, generator=drawn, dtype=dtype)
        b = torch.rand(67, rank, generator=drawn, dtype=dtype)
        factors = Factors(a, b, prefix(rank)).only(sends)
        id = TaskId("run", 1, str(client))
        return Update(id, {"fc": factors}, extras, examples=3 + client, loss=1.0)

    def off_by(update: Update) -> Update:
        both = {m: misplace(f, off) for m, f in update.adapter.items()}
        return replace(update, adapter=both)

    updates = [update(client, rank) for client, rank in enumerate(ranks)]
    server = ServerModel(adapter, extras)
    elsewhere = ServerModel({m: misplace(f, off) for m, f in adapter.items()}, extras)
    expected = aggregate(aggregator, updates, server)
    found = aggregate(aggregator, map(off_by, updates), elsewhere)
    for part in ("a", "b"):
        same = (getattr(m.adapter["fc"], part) for m in (expected, found))
        assert torch.equal(*same), part
    if expected.base:
        assert torch.equal(expected.base.totals["fc"], found.base.totals["fc"])


@OFF
def test_a_step_of_the_base_has_the_same_bits(off):
    """Of these sizes the last bits do differ: a product with one column is summed otherwise."""
    total, b, a = torch.zeros(10, 1), torch.rand(10, 333), torch.rand(333, 1)
    assert torch.equal(added(total, (b, a)), added(total, (moved(b, off), moved(a, off))))


def test_whatever_is_read_lies_as_torch_lays_it_out(tmp_path):
    """Odd sizes, so that each tensor but the first begins somewhere else in its file."""
    tensors = {str(n): torch.rand(n, n) for n in (1, 3, 5, 7)}
    save_tensors(tmp_path / "x", tensors, {})
    read = load_tensors(tmp_path / "x")[0]
    message = Update(TaskId("run", 1, "c"), {}, tensors, 1, 0.0)
    for got in (read, unpack(pack(message)).extras):
        assert all(t.data_ptr() % ALIGNED == 0 for t in got.values())


@OFF
def test_weights_of_a_model_lie_so_in_it_and_in_shared_memory(off):
    model = torch.nn.Linear(5, 300)
    weights = {n: moved(t.detach(), off) for n, t in model.state_dict().items()}
    weights["large"] = moved(torch.rand(300, 70), off)
    shared = share_weights(weights)
    assert all(t.data_ptr() % ALIGNED == 0 for t in shared.values())
    del weights["large"]
    put_weights(model, weights)
    assert all(p.data_ptr() % ALIGNED == 0 for p in model.parameters())
