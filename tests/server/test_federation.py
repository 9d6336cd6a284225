"""The round loop, with an engine that answers at once."""

import pytest
import torch

import polyrank
import polyrank.server.federation
from polyrank.aggregators import AGGREGATORS
from polyrank.aggregators.aggregator import ServerModel, aggregate
from polyrank.allocators.hetlora import Tail
from polyrank.allocators.pruning import Cut
from polyrank.client.state import Start
from polyrank.errors import QuorumError, TrainingError
from polyrank.lora.factors import A, B, Factors, prefix, start_factors
from polyrank.protocol.messages import Failure, Profile, TaskId, Update
from polyrank.record.run_folder import RunFolder
from polyrank.server.averaging import averaged
from polyrank.server.federation import Federation
from polyrank.server.measuring import by_size
from polyrank.server.rules import rules_of
from polyrank.server.state import ServerState
from tests.small import small
from tests.written import lines_in

SHAPE, SLOTS, CLIENTS = (5, 7), 6, "abcd"
TEN = dict.fromkeys(CLIENTS, 10)


class Echo:
    """Sends each client's factors back, drawn anew for each round and client."""

    def __init__(self, aggregator):
        self.aggregator = aggregator
        self.tasks = []
        self.sends = {}  # client -> how many of its slots, if not all
        self.away = set()

    def roster(self):
        return list(CLIENTS)

    def run(self, tasks, patience):
        for task in tasks:
            self.tasks.append(task)
            yield task, self.answer(task)

    def answer(self, task):
        if task.id.client in self.away:
            return Failure(task.id, "away")
        adapter = {m: self.trained(task, m) for m in task.download.adapter}
        return Update(task.id, adapter, task.download.extras, examples=10, loss=1.0)

    def trained(self, task, module):
        slots = task.download.adapter[module].slots[: self.sends.get(task.id.client)]
        seed = 100 * task.id.round + ord(task.id.client)
        drawn = start_factors(SHAPE, SLOTS, seed, "fc").take(slots)
        b = torch.full_like(drawn.b, seed / 100)
        return Factors(drawn.a, b, slots).only(self.aggregator.local(task.id.round).sends)


def federation(aggregator="rbla", cut=None, examples=None, **changes):
    made = AGGREGATORS.build(aggregator)
    settings = small(**{"aggregator": aggregator, "rounds": 9, **changes})
    told = {c: Profile(TaskId("small", 0, c), n) for c, n in (examples or TEN).items()}
    roster = {client: told[client].examples for client in by_size(told)}
    return Federation(rules_of(settings), made, Echo(made), roster, cut=cut)


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
    assert sent(rolora.engine) == {1: {A | B}, 2: {B}, 3: {A | B}, 4: {B}}


def test_a_client_that_missed_the_last_round_is_sent_both_factors():
    """RoLoRA's a was away in round 2; the others are sent what that round has changed."""
    rolora = federation("rolora")
    state = start()
    for away in ("", "a", ""):
        rolora.engine.away = set(away)
        state, _ = rolora.next_round(state)
    last = {t.id.client: t.download.adapter["fc"].parts for t in rolora.engine.tasks[-4:]}
    assert last == {"a": A | B, "b": A, "c": A, "d": A}


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
    for cut, refused in ((Cut(Tail(0.8), {"fc": 1}), ["c"]), (None, ["b", "c"])):
        loop = federation(cut=cut)
        loop.engine.sends = {"b": 4, "c": 3}
        state, record = loop.next_round(start(rank=5))
        assert sorted(t.client for t in record.turns if t.refused) == refused
        sent = {"a": {"fc": 5}, "b": {"fc": 4}, "d": {"fc": 5}}
        assert state.sent == (sent if cut else {})
        assert {t.client: t.up for t in record.turns}["b"] == 4 * (4 * (5 + 7) + 7)


def test_raflora_knows_that_owners_of_a_slot_may_cut_it():
    """The sums that it keeps with the cohort known are those without, also where some have cut."""
    loop = federation("raflora", cut=Cut(Tail(0.5), {"fc": 1}))
    loop.engine.sends = {"b": 2, "c": 2}
    state, _ = loop.next_round(start(rank=4))
    updates = [loop.engine.answer(task) for task in loop.engine.tasks[:4]]
    expected = aggregate(loop.aggregator, updates, start(rank=4).model).adapter["fc"]
    found = state.model.adapter["fc"]
    torch.testing.assert_close(found.b @ found.a, expected.b @ expected.a)


def cohorts(engine):
    """(round, attempt) -> the clients that were asked, in order."""
    found = {}
    for task in engine.tasks:
        found.setdefault((task.id.round, task.id.attempt), []).append(task.id.client)
    return found


def test_a_round_that_is_repeated_asks_other_clients():
    loop = federation(cohort_size=2, attempts=6)
    loop.engine.away = set(CLIENTS)
    with pytest.raises(QuorumError, match="0 good updates of 2 in 6 attempts"):
        loop.next_round(start())
    drawn = cohorts(loop.engine)
    assert list(drawn) == [(1, attempt) for attempt in range(6)]
    assert len({tuple(cohort) for cohort in drawn.values()}) > 1


def test_nobody_is_asked_twice_in_a_round_and_those_with_most_examples_first():
    loop = federation(cohort_size=3, examples={"a": 15, "b": 30, "c": 30, "d": 18})
    state = start()
    for _ in range(5):
        state, _ = loop.next_round(state)
    for cohort in cohorts(loop.engine).values():
        assert cohort == [client for client in "bcda" if client in cohort]
        assert len(cohort) == 3


@pytest.mark.parametrize(("away", "enough"), [("", True), ("ab", True), ("abc", False)])
def test_just_the_quorum_is_enough(away, enough):
    loop = federation(quorum=2)
    loop.engine.away = set(away)
    if not enough:
        with pytest.raises(QuorumError, match="1 good updates of 4"):
            loop.next_round(start())
        return
    state, _ = loop.next_round(start())
    assert set(state.trained) == set(CLIENTS) - set(away)


def test_only_clients_whose_update_was_taken_have_trained():
    loop = federation()
    loop.engine.away, loop.engine.sends = {"a"}, {"b": 1}
    state, record = loop.next_round(start())
    assert [t.client for t in record.turns if t.refused] == ["b"]
    assert state.trained == {"c": 1, "d": 1}
    loop.engine.away, loop.engine.sends = {"c"}, {}
    state, _ = loop.next_round(state)
    assert state.trained == {"a": 2, "b": 2, "c": 1, "d": 2}


def test_a_client_is_sent_the_steps_since_the_base_that_it_trained_on():
    """Who trained in round 2 had the base of round 1; nobody has one before round 1 is over."""
    loop = federation("fedex")
    state = start()
    for away in ("", "", "a", ""):
        loop.engine.away = set(away)
        state, _ = loop.next_round(state)
    since = {
        (t.id.round, t.id.client): t.download.base and t.download.base.since
        for t in loop.engine.tasks
        if t.id.client in "ab"
    }
    assert since == {
        (1, "a"): None, (2, "a"): 0, (3, "a"): 1, (4, "a"): 1,
        (1, "b"): None, (2, "b"): 0, (3, "b"): 1, (4, "b"): 2,
    }  # fmt: skip


def test_server_and_clients_draw_the_same_new_factors():
    """FLoRA sends none: for round n each client draws those after round n - 1."""
    loop = federation("flora")
    state = start()
    own = Start(loop.rules.seed, {"fc": SHAPE})
    for number in (1, 2):
        state, _ = loop.next_round(state)
        drawn = own.factors("fc", prefix(SLOTS), number)
        assert torch.equal(state.model.adapter["fc"].a, drawn.a)
        assert not state.model.adapter["fc"].b.any()


def test_slots_that_are_dead_start_anew_and_unlike_in_each_module():
    dead = Factors(torch.zeros(SLOTS, SHAPE[0]), torch.zeros(SHAPE[1], SLOTS), prefix(SLOTS))
    model = ServerModel({"fc": dead, "fc2": dead}, {"bias": torch.zeros(7)})
    owned = {client: {"fc": prefix(2), "fc2": prefix(2)} for client in CLIENTS}
    state, _ = federation().next_round(ServerState(model, owned))
    one, other = (state.model.adapter[m].a[2:] for m in ("fc", "fc2"))
    assert (one != 0).all()
    assert not torch.equal(one, other)


def picky(view):
    """A criterion that one client cannot measure, and that gives another an odd number."""
    if view.examples == 51:
        raise ValueError("no sensor")
    return 1e200 if view.examples == 42 else view.examples


def test_a_client_that_cannot_be_measured_costs_its_own_part(tmp_path):
    rows = [51, 42]
    settings = small(
        criteria=["tests.server.test_federation:picky", "label_count"],
        ranks={"budget": 3},
        partition={"kind": "double_imbalance", "clients": 4},
    )
    summary = polyrank.run(settings, out=tmp_path / "run").summary
    folder = RunFolder.open(tmp_path / "run")
    profiles = {c["client"]: c for c in lines_in(folder, "clients") if c["event"] == "profile"}
    assert sorted((p["examples"]["train"] for p in profiles.values()), reverse=True)[:2] == rows
    by_rows = {p["examples"]["train"]: p for p in profiles.values()}
    for few in rows:
        assert set(by_rows[few]["ranks"].values()) == {1}
        assert by_rows[few]["reason"] == "could not be measured: the least rank"
    assert summary["mean_rank"] == 3
    failed = {f["client"]: f["reason"] for f in lines_in(folder, "rounds")[0]["failed"]}
    assert "no sensor" in failed[by_rows[51]["client"]]
    assert "is 1e+200: expected a finite number" in failed[by_rows[42]["client"]]
    assert summary["failed"] == 2


def test_where_no_client_can_be_measured_the_run_ends_with_the_reason(tmp_path):
    settings = small(criteria=["tests.server.test_federation:never"])
    with pytest.raises(TrainingError, match=r"no client could be measured.*no sensor at all"):
        polyrank.run(settings, out=tmp_path / "run")


def never(view):
    """A criterion that nobody can measure."""
    raise ValueError("no sensor at all")
