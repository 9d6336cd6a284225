"""SVD form: ``e`` is averaged slot by slot, as a column of ``a`` would be."""

from dataclasses import dataclass

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from polyrank.aggregators import AGGREGATORS
from polyrank.aggregators.aggregator import (
    Aggregator,
    PerModule,
    ServerModel,
    aggregate,
    fold_module,
)
from polyrank.aggregators.hetlora import NormWeightedMean
from polyrank.errors import ShapeError
from polyrank.lora.factors import Factors, prefix
from polyrank.protocol.messages import TaskId, Update

SLOTS, D_IN, D_OUT = 6, 5, 7
BY_SLOT = ("rbla", "zero_padding", "replication", "fedavg")


def factors(slots, seed: int) -> Factors:
    generator = torch.Generator().manual_seed(seed)
    a = torch.randn(len(slots), D_IN, generator=generator)
    b = torch.randn(D_OUT, len(slots), generator=generator)
    e = torch.randn(len(slots), 1, generator=generator)
    return Factors(a, b, torch.tensor(sorted(slots)), e)


def widened(f: Factors) -> Factors:
    """Plain factors with ``e`` as the last column of ``a``."""
    return Factors(torch.cat([f.a, f.e], dim=1), f.b, f.slots)


def combined(name: str, updates: list[tuple[Factors, float]], server: Factors) -> Factors:
    messages = [
        Update(TaskId("t", 1, str(k)), {"fc": f}, {}, examples=weight, loss=0.0)
        for k, (f, weight) in enumerate(updates)
    ]
    made = AGGREGATORS.build(name)
    return aggregate(made, messages, ServerModel({"fc": server}, {})).adapter["fc"]


owned = st.sets(st.integers(0, SLOTS - 1), min_size=1)


@pytest.mark.parametrize("name", BY_SLOT)
@given(st.lists(st.tuples(owned, st.floats(0.5, 1000)), min_size=1, max_size=5))
@settings(max_examples=25, deadline=None)
def test_each_slots_number_is_averaged_as_its_row_of_a_is(name, drawn):
    if name == "fedavg":
        drawn = [(drawn[0][0], weight) for _, weight in drawn]
    updates = [(factors(slots, k), weight) for k, (slots, weight) in enumerate(drawn)]
    server = factors(range(SLOTS), 99)
    came = combined(name, updates, server)
    wide = combined(name, [(widened(f), w) for f, w in updates], widened(server))
    torch.testing.assert_close(torch.cat([came.a, came.e], dim=1), wide.a)
    torch.testing.assert_close(came.b, wide.b)


def test_by_hand_a_number_is_the_mean_of_those_who_have_its_slot():
    """Weights 1 and 3; slot 0 is owned by both, slot 1 by the second, slot 2 by nobody.

    RBLA: (1 * 8 + 3 * 4) / 4 = 5, then 6, and the server's. Zero padding: 5, 3 * 6 / 4 = 4.5, 0.
    """
    server = Factors(torch.zeros(3, 1), torch.zeros(1, 3), prefix(3), torch.full((3, 1), 7.0))
    one = Factors(torch.zeros(1, 1), torch.zeros(1, 1), prefix(1), torch.tensor([[8.0]]))
    two = Factors(torch.zeros(2, 1), torch.zeros(1, 2), prefix(2), torch.tensor([[4.0], [6.0]]))
    updates = [(one, 1.0), (two, 3.0)]
    assert combined("rbla", updates, server).e.flatten().tolist() == [5.0, 6.0, 7.0]
    assert combined("zero_padding", updates, server).e.flatten().tolist() == [5.0, 4.5, 0.0]


def test_hetlora_weighs_by_the_norm_of_the_whole_product():
    server = factors(range(SLOTS), 99)
    clients = [factors(range(rank), rank) for rank in (2, 4)]
    came = fold_module(NormWeightedMean(), [(f, 1.0) for f in clients], server)
    dense = [f.b.numpy() @ np.diag(f.e[:, 0].numpy()) @ f.a.numpy() for f in clients]
    norms = [float(np.linalg.norm(product)) for product in dense]
    padded = [torch.cat([f.e, torch.zeros(SLOTS - f.rank, 1)]) for f in clients]
    wanted = (norms[0] * padded[0] + norms[1] * padded[1]) / sum(norms)
    torch.testing.assert_close(came.e, wanted)


@pytest.mark.parametrize("name", BY_SLOT)
def test_factors_of_the_other_form_do_not_fit(name):
    server, client = factors(range(SLOTS), 1), factors(range(SLOTS), 2)
    with pytest.raises(ShapeError, match="form 'svd', got 'lora'"):
        combined(name, [(client.folded(), 1.0)], server)
    with pytest.raises(ShapeError, match="form 'lora', got 'svd'"):
        combined(name, [(client, 1.0)], server.folded())


@dataclass(frozen=True)
class OwnFold:
    """Somebody's own fold, which knows two factors alone."""

    def init(self, previous):
        return previous

    def add(self, state, factors, client_weight):
        return factors

    def finish(self, state, previous):
        return Factors(state.a, state.b, state.slots)


def test_an_aggregator_of_ones_own_that_loses_the_third_factor_is_named():
    update = Update(TaskId("t", 1, "0"), {"fc": factors(range(SLOTS), 2)}, {}, 1.0, 0.0)
    server = ServerModel({"fc": factors(range(SLOTS), 1)}, {})
    with pytest.raises(ShapeError, match=r"'fc': .* form 'svd', .* 'lora'"):
        aggregate(Aggregator(PerModule(OwnFold())), [update], server)
