"""The round loop, with an engine that answers at once."""

import pytest
import torch

from polyrank.adapter import Factors, prefix, start_factors
from polyrank.aggregators import AGGREGATORS
from polyrank.aggregators.aggregator import ServerModel, aggregate
from polyrank.averaging import averaged
from polyrank.federation import Federation, ServerState
from polyrank.messages import Update
from polyrank.pruning import Cut
from tests.small import small

SHAPE, SLOTS, CLIENTS = (5, 7), 6, "abcd"


class Echo:
    """Sends each client's factors back, drawn anew for each round and client."""

    def __init__(self, aggregator):
        self.aggregator = aggregator
        self.tasks = []
        self.sends = {}  # client -> how many of its slots, if not all

    def roster(self):
        return dict.fromkeys(CLIENTS, 10)

    def run(self, tasks):
        for task in tasks:
            self.tasks.append(task)
            slots = task.download.adapter["fc"].slots
            slots = slots[: self.sends.get(task.id.client)]
            seed = 100 * task.id.round + ord(task.id.client)
            drawn = start_factors(SHAPE, SLOTS, seed, "fc").take(slots)
            b = torch.full_like(drawn.b, seed / 100)
            sends = self.aggregator.local(task.id.round).sends
            adapter = {"fc": Factors(drawn.a, b, slots).only(sends)}
            yield Update(task.id, adapter, task.download.extras, examples=10, loss=1.0)


def federation(aggregator="rbla", cut=None, **changes):
    made = AGGREGATORS.make(aggregator, {})()
    settings = small(aggregator=aggregator, rounds=9, **changes)
    return Federation(settings, made, Echo(made), validation_rows=0, test_rows=0, cut=cut)


def start(rank=2):
    model = ServerModel({"fc": start_factors(SHAPE, SLOTS, 0, "fc")}, {"bias": torch.zeros(7)})
    return ServerState(model, plan(rank))


def plan(rank):
    return {client: {"fc": prefix(rank)} for client in CLIENTS}


def sent(engine):
    """Round -> which factors each task of it brought."""
    found = {}
    for task in engine.tasks:
        found.setdefault(task.id.round, set()).add(task.download.adapter["fc"].parts)
    return found


def test_a_client_whose_slots_have_changed_is_sent_both_factors_again():
    """RoLoRA sends one that took part in the last round what that round has changed."""
    rolora = federation("rolora")
    state = start()
    for _ in range(2):
        state, _ = rolora.next_round(state)
    grown = ServerState(state.model, plan(4), state.round, state.trained, planned=state.round)
    for _ in range(2):
        grown, _ = rolora.next_round(grown)
    assert sent(rolora.engine) == {1: {"ab"}, 2: {"b"}, 3: {"ab"}, 4: {"b"}}


def test_the_average_knows_the_number_of_the_round():
    """After rounds 1 to 3 the average is that of the same models, called by hand."""
    loop = federation(average=0.9)
    state, expected = start(), None
    for number in (1, 2, 3):
        state, _ = loop.next_round(state)
        expected = averaged(expected, state.model, number, 0.9)
        for part in ("a", "b"):
            mine, theirs = (getattr(m.adapter["fc"], part) for m in (state.average, expected))
            torch.testing.assert_close(mine, theirs)


@pytest.mark.parametrize(
    ("fraction", "size"), [(0.1, 1), (0.25, 1), (0.4, 2), (0.6, 2), (0.7, 3), (1.0, 4)]
)
def test_a_cohort_is_the_fraction_rounded_to_the_nearest_number_and_never_empty(fraction, size):
    """Of four clients: 0.4, 1, 1.6, 2.4, 2.8 and 4."""
    loop = federation(cohort_fraction=fraction)
    _, record = loop.next_round(start())
    assert len(record.turns) == size


def test_clients_may_send_fewer_slots_only_where_a_rule_cuts_them_and_only_that_many():
    """floor(0.8 * 5) is 4: b sends these, c one more than there can be left, d all."""
    for cut, refused in ((Cut(0.8, {"fc": 1}), ["c"]), (None, ["b", "c"])):
        loop = federation(cut=cut)
        loop.engine.sends = {"b": 4, "c": 3}
        state, record = loop.next_round(start(rank=5))
        assert sorted(t.client for t in record.turns if t.refused) == refused
        sent = {"a": {"fc": 5}, "b": {"fc": 4}, "d": {"fc": 5}}
        assert state.observed == (sent if cut else {})
        assert {t.client: t.up for t in record.turns}["b"] == 4 * (4 * (5 + 7) + 7)


def test_raflora_knows_that_owners_of_a_slot_may_cut_it():
    """The sums that it keeps with the cohort known are those without, also where some have cut."""
    loop = federation("raflora", cut=Cut(0.5, {"fc": 1}))
    loop.engine.sends = {"b": 2, "c": 2}
    state, _ = loop.next_round(start(rank=4))
    updates = list(loop.engine.run(loop.engine.tasks[:4]))
    expected = aggregate(loop.aggregator, updates, start(rank=4).model).adapter["fc"]
    found = state.model.adapter["fc"]
    torch.testing.assert_close(found.b @ found.a, expected.b @ expected.a)
