"""Changes of the product in place of factors, for methods that make the next model of products."""

import pytest
import torch

from polyrank.aggregators import AGGREGATORS
from polyrank.aggregators.aggregator import ServerModel
from polyrank.lora.changes import cut_change
from polyrank.lora.factors import Factors, prefix
from polyrank.protocol.messages import TaskId, Update

SHAPE, SLOTS = (9, 8), 3
TAKEN = {"anchored", "flexlora", "raflora", "flora", "florist"}


def draw(seed, b=1.0):
    generator = torch.Generator().manual_seed(seed)
    a = torch.randn(SLOTS, SHAPE[0], generator=generator)
    return Factors(a, b * torch.randn(SHAPE[1], SLOTS, generator=generator), prefix(SLOTS))


def update(client, factors, examples):
    return Update(TaskId("r", 1, client), {"fc": factors}, {"x": torch.ones(1)}, examples, 1.0)


def folded(fold, updates, server):
    state = fold.init(server)
    for one in updates:
        state = fold.add(state, one)
    return fold.finish(state, server)


def product(model):
    if model.base is not None:
        return model.base.totals["fc"]
    return model.adapter["fc"].b.double() @ model.adapter["fc"].a.double()


def test_these_take_changes():
    assert {name for name in AGGREGATORS if AGGREGATORS.build(name).of_changes} == TAKEN


@pytest.mark.parametrize("name", sorted(TAKEN))
def test_whole_changes_give_what_the_factors_give(name):
    method = AGGREGATORS.build(name)
    start = draw(0, b=0.0) if method.fresh else draw(0)
    server = ServerModel({"fc": start}, {"x": torch.zeros(1)})
    trained = [(c, draw(k + 1), 10 + k) for k, c in enumerate("abc")]
    usual = folded(method.fold, [update(*one) for one in trained], server)
    changes = [
        update(client, cut_change(start, f, error=0.0, most=6).sent, examples)
        for client, f, examples in trained
    ]
    found = folded(method.of_changes, changes, server)
    torch.testing.assert_close(product(found), product(usual), atol=1e-4, rtol=1e-4)
    assert found.extras["x"].tolist() == [1.0]


def test_no_change_leaves_the_server_as_it_was():
    server = ServerModel({"fc": draw(0)}, {"x": torch.zeros(1)})
    nothing = Factors(torch.zeros(0, SHAPE[0]), torch.zeros(SHAPE[1], 0), prefix(0))
    found = folded(AGGREGATORS.build("anchored").of_changes, [update("a", nothing, 3)], server)
    assert torch.equal(found.adapter["fc"].a, server.adapter["fc"].a)
