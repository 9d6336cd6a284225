"""The allocator ``fedara``: slots that are given up round by round."""

import json
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import polyrank
from polyrank.allocators import ALLOCATORS, Budget, Evidence, Limits, ModuleRange
from polyrank.allocators.fedara import FedAra, marked, slots_left, voted
from polyrank.console.progress import Silent
from polyrank.disk.checkpoint import load_tensors
from polyrank.errors import SettingsError, UnknownNameError
from polyrank.record.run_folder import RunFolder
from polyrank.registry import Named
from polyrank.runs.trained_model import read_trained
from tests.small import small
from tests.written import lines_in

LIMITS = Limits({"m": ModuleRange(1, 4, 10), "n": ModuleRange(1, 2, 10)})
EVERY = {"m": [0, 1, 2, 3], "n": [0, 1]}
INF = np.inf


def slots(choice):
    return {c: {m: own.tolist() for m, own in of.items()} for c, of in choice.slots.items()}


def step(allocator, state, round, limits=LIMITS, clients="ab", rounds=4, **scores):
    """Take a step after a round in which some clients gave these scores of the slots they have."""
    observed, own = {}, {}
    for client, rows in scores.items():
        held = (state["slots"].get(client) or state["slots"]) if state else EVERY
        observed[client] = {m: np.array(row, float) for m, row in rows.items()}
        own[client] = {m: np.array(held[m], np.int64) for m in rows}
    criteria = {"x": np.arange(len(clients), dtype=float)}
    evidence = Evidence([*clients], criteria, round, 0, rounds, observed=observed, slots=own)
    return allocator.step(state, evidence, limits)


def test_the_number_of_slots_falls_as_a_cubic_between_rests():
    """From 100 to 20 in four steps: 20 + 80 (3/4, 1/2, 1/4, 0)³ = 53.75, 30, 21.25, 20."""
    found = [slots_left(t, 8, 100, 20, warmup=2, rest=2) for t in range(8)]
    assert found == [100, 100, 100, 54, 30, 21, 20, 20]
    assert [slots_left(t, 3, 9, 3, warmup=9, rest=0) for t in range(3)] == [9, 9, 9]


def test_a_client_marks_its_best_slots_and_none_that_it_does_not_have():
    mask = np.array([True, True, False, True, True])
    scores = np.array([1.0, 3.0, 9.0, -INF, 3.0])
    assert marked(mask, scores, 2).tolist() == [False, True, False, False, True]
    assert marked(mask, scores, 1).tolist() == [False, True, False, False, False]
    assert marked(mask, scores, 9).tolist() == mask.tolist()


def test_votes_decide_and_then_the_mean_score_and_then_the_first():
    """Each of three marks two: slots 0 to 3 get 2, 1, 1 and 2 votes."""
    mask = np.ones(4, bool)
    scores = np.array([[9, 8, 0, 1], [9, 0, 0, 10.0], [0, 0, 7, 8]], float)
    top = voted(mask, scores, 2, 1, "top", 0.5)
    assert top.tolist() == [True, False, False, True]
    half = voted(mask, scores, 2, 1, "threshold", 0.5)
    assert half.tolist() == [True, False, False, True]
    some = voted(mask, scores, 2, 1, "threshold", 0.3)
    assert some.tolist() == [True, True, True, True]
    least = voted(mask, scores, 2, 3, "threshold", 1.0)  # nobody agrees: the three best
    assert least.tolist() == [True, True, False, True]


def test_by_hand():
    """Six slots, half of them at the end; a and b mark three each after round 2 of 4."""
    fedara = FedAra(final=0.5, warmup=1, rest=2)
    first, state = step(fedara, None, 0)
    assert slots(first) == {"a": EVERY, "b": EVERY}
    warm, state = step(fedara, state, 1, a={"m": [1, 2, 3, 4], "n": [5, 6]})
    assert slots(warm) == {"a": EVERY, "b": EVERY}
    scores = {"a": {"m": [9, 0, 8, 0], "n": [7, 0]}, "b": {"m": [9, 0, 0, 8], "n": [0, 7]}}
    choice, state = step(fedara, json.loads(json.dumps(state)), 2, **scores)
    assert slots(choice)["a"] == slots(choice)["b"] == {"m": [0, 2, 3], "n": []}
    assert {m: own.tolist() for m, own in choice.gone.items()} == {"m": [1], "n": [0, 1]}
    assert choice.ranks["n"].tolist() == [0, 0]
    again, _ = step(fedara, state, 3)  # nobody answered
    assert slots(again) == slots(choice)


def test_each_client_keeps_its_own_slots_as_many_as_another_allocator_says():
    """AutoRank's ranks: a 1 and 1, b 4 and 2."""
    limits = replace(LIMITS, budget=Budget("mean_rank", 2.0))
    fedara = FedAra(of="ratio", of_options={"ratios": [0.25, 1.0]}, warmup=0, rest=1)
    first, state = step(fedara, None, 0, LIMITS)
    assert slots(first) == {"a": EVERY, "b": EVERY}
    assert state["goal"] == {"a": 2, "b": 6}
    scores = {"a": {"m": [0, 3, 0, 0], "n": [1, 2]}, "b": {"m": [1, 1, 1, 1], "n": [1, 1]}}
    choice, state = step(fedara, json.loads(json.dumps(state)), 3, LIMITS, **scores)
    assert slots(choice) == {"a": {"m": [1], "n": [1]}, "b": EVERY}
    assert not choice.gone
    assert FedAra(of="autorank").needs.criteria
    bounded, _ = step(FedAra(), None, 0, limits)
    assert sum(row.sum() for row in bounded.ranks.values()) == 8  # of a mean rank of 2


def test_a_client_holds_no_more_slots_of_a_module_than_its_cap():
    limits = replace(LIMITS, caps=np.array([2, 9]))
    fedara = FedAra(final=0.5, warmup=0, rest=1)
    first, state = step(fedara, None, 0, limits)
    assert slots(first) == {"a": {"m": [0, 1], "n": [0, 1]}, "b": EVERY}
    choice, _ = step(fedara, state, 1, limits, b={"m": [1, 2, 9, 8], "n": [3, 7]})
    assert slots(choice)["a"] == {"m": [2, 3], "n": [0, 1]}


@settings(max_examples=60, deadline=None)
@given(
    st.integers(0, 1000),
    st.floats(0.05, 1.0),
    st.sampled_from(["top", "threshold"]),
    st.sampled_from([None, "random"]),
    st.booleans(),
)
def test_masks_only_shrink_and_end_at_the_goal(seed, final, arbiter, of, some):
    rng = np.random.default_rng(seed)
    limits = Limits({f"m{k}": ModuleRange(1, int(rng.integers(1, 7)), 10) for k in range(3)})
    fedara = FedAra(final=final, warmup=1, rest=1, arbiter=arbiter, of=of)
    clients, rounds = "abcd", 6
    _, state = step(fedara, None, 0, limits, clients, rounds)
    total = sum(m.r_max for m in limits.modules.values())
    before = {c: {m: list(range(r.r_max)) for m, r in limits.modules.items()} for c in clients}
    for finished in range(1, rounds):
        cohort = clients if not some else clients[: rng.integers(1, 5)]
        observed = {c: {m: rng.random(len(s)) for m, s in before[c].items()} for c in cohort}
        own = {c: {m: np.array(before[c][m], np.int64) for m in before[c]} for c in cohort}
        evidence = Evidence([*clients], {}, finished, seed, rounds, observed=observed, slots=own)
        choice, state = fedara.step(json.loads(json.dumps(state)), evidence, limits)
        now = slots(choice)
        assert all(set(now[c][m]) <= set(before[c][m]) for c in clients for m in limits.modules)
        before = now
        for module, gone in choice.gone.items():
            assert not any(set(gone.tolist()) & set(of[module]) for of in now.values())
    held = {c: sum(map(len, of.values())) for c, of in before.items()}
    if of is None and arbiter == "top":
        assert set(held.values()) == {max(1, round(final * total))}
    if of is not None and not some:
        assert held == state["goal"]
    assert min(held.values()) >= 1


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"final": 0}, "final: expected above 0"),
        ({"final": 1.5}, "final"),
        ({"threshold": 0.0}, "threshold"),
        ({"warmup": -1}, "warmup"),
        ({"rest": -1}, "rest"),
        ({"of": "hetlora"}, "chooses once"),
        ({"of": "fedara"}, "chooses once"),
        ({"score": "loss"}, "score"),
    ],
)
def test_impossible_options(options, said):
    with pytest.raises(SettingsError, match=said):
        ALLOCATORS.build(Named("fedara", options))
    with pytest.raises(UnknownNameError):
        FedAra(of="autorunk")


def fedara(**changes):
    kind = {"kind": "fedara", "final": 0.25, "warmup": 1, "rest": 1}
    return small(**{"allocator": kind, "aggregator": "rbla", "rounds": 5, **changes})


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("fedara") / "run"
    return polyrank.run(fedara(cohort_size=3), out=folder).folder


def test_a_run_sends_less_and_less_and_loses_what_is_given_up(run):
    """Twelve slots in two modules; three of them stay."""
    rounds = lines_in(run, "rounds")[1:]
    up = [line["bytes"]["up"] for line in rounds]
    assert up[0] == up[1] > up[2] > up[3] >= up[4]
    _, header = load_tensors(RunFolder.open(run).last_state())
    plan = header["plan"]["0"]
    owned = {m: set(range(s)) if isinstance(s, int) else set(s) for m, s in plan.items()}
    assert sum(map(len, owned.values())) == round(0.25 * 12)
    adapter = read_trained(run, None).adapter
    assert {m: set(f.slots.tolist()) for m, f in adapter.items()} == {
        m: own for m, own in owned.items() if own
    }


def test_what_is_given_up_leaves_the_exported_average(tmp_path):
    polyrank.run(fedara(average=0.8), out=tmp_path / "run")
    adapter = read_trained(tmp_path / "run", None).adapter
    assert 0 < sum(f.rank for f in adapter.values()) <= round(0.25 * 12)


@pytest.mark.parametrize(("parametrisation", "more"), [("lora", 0), ("svd", 1)])
def test_bytes_are_those_of_the_active_slots_and_a_bit_for_each(parametrisation, more, tmp_path):
    """``4 a (d_in + d_out)`` and a mask up; a number a slot besides, for the server to judge by.

    In the form with a third factor it is ``d_in + d_out + 1``.
    """
    form = {"parametrisation": parametrisation}
    run = polyrank.run(fedara(cohort_size=3, adapter=form), out=tmp_path / "run").folder
    shapes = {"fc1": (64, 16, more), "fc2": (16, 10, more)}
    for update in (x for x in lines_in(run, "clients") if x["event"] == "update"):
        told = [
            x
            for x in lines_in(run, "clients")
            if x["event"] in ("profile", "ranks")
            and x["client"] == update["client"]
            and x.get("round", 0) <= update["round"]
        ][-1]
        numbers = sum(told["ranks"][m] * sum(shape) for m, shape in shapes.items())
        masks = 0
        for module, rank in told["ranks"].items():
            own = (told.get("slots") or {}).get(module, list(range(rank)))
            if own and own != list(range(rank)):
                masks += own[-1] // 8 + 1
        numbers += 16 + 10  # extras: the biases
        assert update["bytes"]["down"] == 4 * numbers + masks
        assert update["bytes"]["up"] == 4 * numbers + masks + 4 * sum(told["ranks"].values())


def test_it_goes_on_in_the_middle_of_the_schedule_to_the_same_bits(run, tmp_path):

    class Stopped(Silent):
        def round(self, line, rounds, total_bytes):
            if line.round == 3:
                raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        polyrank.run(fedara(cohort_size=3), out=tmp_path / "run", watcher=Stopped())
    polyrank.resume(tmp_path / "run", trust=True)
    for name in ("clients.jsonl", "summary.json", "checkpoint/round-000005.safetensors"):
        assert (tmp_path / "run" / name).read_bytes() == (run / name).read_bytes()


def test_workers_change_nothing(run, tmp_path):
    two = polyrank.run(fedara(cohort_size=3, workers=2), out=tmp_path / "two").folder
    for name in ("clients.jsonl", "summary.json"):
        assert (two / name).read_bytes() == (run / name).read_bytes()


@pytest.mark.parametrize("name", ["anchored", "flexlora", "florist", "flora"])
def test_an_aggregator_that_does_not_keep_slots_is_refused(name, tmp_path):
    with pytest.raises(SettingsError, match="chooses slots by their numbers"):
        polyrank.run(fedara(aggregator=name), out=tmp_path / "run")


def test_each_client_by_its_own_ranks_in_a_run(tmp_path):
    kind = {"kind": "fedara", "of": "autorank", "warmup": 1, "rest": 1}
    done = polyrank.run(fedara(allocator=kind, rounds=6), out=tmp_path / "run")
    told = [x for x in lines_in(done.folder, "clients") if x["event"] == "ranks"]
    last = {x["client"]: sum(x["ranks"].values()) for x in told}
    goal = load_tensors(RunFolder.open(done.folder).last_state())[1]["allocator"]["goal"]
    assert {client: goal[client] for client in last} == last
    assert len(set(goal.values())) > 1
    ends = {x["client"]: json.dumps(x.get("slots")) for x in told}
    assert len(set(ends.values())) > 1
