"""What a run says was sent, against the table of the methods: numbers a module and client."""

import json

import pytest

import polyrank
from polyrank.aggregators import AGGREGATORS
from polyrank.allocators import Needs, choose_slots
from tests.small import small

MODULES = {"fc1": (64, 16), "fc2": (16, 10)}  # d_in, d_out
EXTRAS = 16 + 10
RANKS = {"0": 1, "1": 3, "2": 6, "3": 4}
SLOTS = 6
ROUNDS = 5
COHORT = 3


PLACES = {"0": [1], "1": [0, 2, 4], "2": [0, 1, 2, 3, 4, 5], "3": [0, 1, 2, 3]}


@Needs(slots=True)
def places(evidence, limits):
    """Each client has slots of its own, some of them no prefix."""
    chosen = {c: dict.fromkeys(limits.modules, PLACES[c]) for c in evidence.clients}
    return choose_slots(evidence, limits, chosen, "by hand")


def both(d_in, d_out):
    return d_in + d_out


def up(name, number, client, d_in, d_out):
    """Numbers that a client sends in a round."""
    r = RANKS[client]
    if name == "ffa":
        return r * d_out
    if name == "fedsa":
        return r * d_in
    if name == "rolora":
        return r * (d_out if number % 2 else d_in)
    return r * both(d_in, d_out)


def down(name, number, client, d_in, d_out, cohorts, ranks):
    """Numbers that a client is sent in a round; ``cohorts`` are those of all rounds from 1."""
    r = ranks[client]
    took_part = [n for n in range(1, number) if client in cohorts[n]]
    if name == "ffa":
        return r * d_out
    if name == "fedsa":
        return r * d_in
    if name == "rolora" and number - 1 in took_part:
        return r * (d_in if number % 2 else d_out)
    if name == "anchored":
        return SLOTS * both(d_in, d_out)
    own = 0 if name == "flora" else r * both(d_in, d_out)
    if name in ("flora", "fedex"):
        # since it last took part, and that round, whose result it has not seen
        missed = range(took_part[-1] if took_part else 1, number)
        rest = SLOTS if name == "fedex" else 0
        stacks = [sum(ranks[c] for c in cohorts[n]) + rest for n in missed]
        whole = any(n >= min(d_in, d_out) for n in stacks)  # a step without factors
        sent = sum(stacks) * both(d_in, d_out)
        own += d_in * d_out if whole or sent >= d_in * d_out else sent
    return own


# FLoRIST's bytes depend on the numbers: tests/aggregators/test_florist.py
@pytest.mark.parametrize("name", [n for n in AGGREGATORS if n != "florist"])
def test_bytes_are_those_of_the_table_both_ways(tmp_path, name):
    allocator = {"kind": "ratio", "ratios": [RANKS[c] / SLOTS for c in RANKS]}
    if name == "fedavg":
        allocator = {"kind": "uniform"}
    ranks = dict.fromkeys(RANKS, SLOTS) if name == "fedavg" else RANKS
    settings = small(aggregator=name, rounds=ROUNDS, cohort_size=COHORT, allocator=allocator)
    polyrank.run(settings, out=tmp_path / "run")
    lines = [json.loads(x) for x in (tmp_path / "run/clients.jsonl").read_text().splitlines()]
    profiles = {x["client"]: x["ranks"] for x in lines if x["event"] == "profile"}
    assert all(set(of.values()) == {ranks[c]} for c, of in profiles.items())
    updates = [x for x in lines if x["event"] == "update"]
    cohorts = {n: {u["client"] for u in updates if u["round"] == n} for n in range(1, ROUNDS + 1)}
    assert any(len(cohorts[n] - cohorts[n - 1]) for n in range(2, ROUNDS + 1))  # some missed one
    for u in updates:
        number, client = u["round"], u["client"]
        sizes = MODULES.values()
        given = sum(
            SLOTS * both(*s) if name == "fedavg" else up(name, number, client, *s) for s in sizes
        )
        taken = sum(down(name, number, client, *s, cohorts, ranks) for s in sizes)
        assert u["bytes"] == {"up": 4 * (given + EXTRAS), "down": 4 * (taken + EXTRAS)}


@pytest.mark.parametrize("name", ["rbla", "zero_padding", "replication", "hetlora"])
def test_a_third_factor_is_one_number_more_a_slot_both_ways(tmp_path, name):
    """4 a (d_in + d_out + 1) bytes, and a mask of one byte where slots are no prefix."""
    settings = small(
        aggregator=name,
        rounds=2,
        cohort_size=COHORT,
        allocator=f"{__name__}:places",
        adapter={"parametrisation": "svd"},
    )
    done = polyrank.run(settings, out=tmp_path / "run")
    whole = SLOTS * sum(both(*size) + 1 for size in MODULES.values())
    assert done.summary["parameters"]["trained"] == whole + EXTRAS
    lines = [json.loads(x) for x in (tmp_path / "run/clients.jsonl").read_text().splitlines()]
    updates = [x for x in lines if x["event"] == "update"]
    assert {u["client"] for u in updates} == set(PLACES)
    for u in updates:
        own = PLACES[u["client"]]
        mask = int(own != list(range(len(own))))
        sent = sum(4 * len(own) * (both(*size) + 1) + mask for size in MODULES.values())
        assert u["bytes"] == {"up": sent + 4 * EXTRAS, "down": sent + 4 * EXTRAS}
