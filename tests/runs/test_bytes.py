"""What a run says was sent, against the table of the methods: numbers a module and client."""

import json

import pytest

import polyrank
from polyrank.aggregators import AGGREGATORS
from polyrank.allocators import Needs, choose_slots
from tests.small import small
from tests.written import lines_in

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


def travelled(folder, name, compression):
    """Run a method; return what its updates say of themselves, and the last round's test loss."""
    allocator = {"kind": "ratio", "ratios": [RANKS[c] / SLOTS for c in RANKS]}
    if name == "fedavg":
        allocator = {"kind": "uniform"}
    changes = {"rounds": ROUNDS, "cohort_size": COHORT, "allocator": allocator}
    settings = small(aggregator=name, compression=compression, **changes)
    polyrank.run(settings, out=folder)
    lines = lines_in(folder, "clients")
    ranks = dict.fromkeys(RANKS, SLOTS) if name == "fedavg" else RANKS
    profiles = {x["client"]: x["ranks"] for x in lines if x["event"] == "profile"}
    assert all(set(of.values()) == {ranks[c]} for c, of in profiles.items())
    assert not any(x.get("refused") or x.get("failed") for x in lines)
    updates = [x for x in lines if x["event"] == "update"]
    return updates, lines_in(folder, "rounds")[-1]["test"]["loss"]


# FLoRIST's bytes depend on the numbers: tests/aggregators/test_florist.py
@pytest.mark.parametrize("name", [n for n in AGGREGATORS if n != "florist"])
def test_bytes_are_those_of_the_table_both_ways_in_four_bytes_a_number_or_in_one(tmp_path, name):
    """In eight bits one byte, and four for the scale of a row of a or column of b.

    What goes into a client's base has four bytes either way. Losses are nearly the same.
    """
    ranks = dict.fromkeys(RANKS, SLOTS) if name == "fedavg" else RANKS
    losses = []
    for compression, number, scale in (("none", 4, 0), ("int8", 1, 4)):
        updates, loss = travelled(tmp_path / compression, name, compression)
        losses.append(loss)
        rounds = range(1, ROUNDS + 1)
        cohorts = {n: {u["client"] for u in updates if u["round"] == n} for n in rounds}
        assert any(len(cohorts[n] - cohorts[n - 1]) for n in rounds[1:])  # some missed one
        for u in updates:
            number_of, client = u["round"], u["client"]
            given = taken = 4 * EXTRAS
            for d_in, d_out in MODULES.values():
                size = number * d_in + scale, number * d_out + scale
                given += (
                    SLOTS * both(*size) if name == "fedavg" else up(name, number_of, client, *size)
                )
                whole = down(name, number_of, client, d_in, d_out, cohorts, ranks)
                base = into_base(name, whole, ranks[client], d_in, d_out)
                if base is None:
                    taken += down(name, number_of, client, *size, cohorts, ranks)
                else:
                    taken += 4 * base + (ranks[client] * both(*size) if name == "fedex" else 0)
            assert u["bytes"] == {"up": given, "down": taken}, compression
    assert losses[1] != losses[0]
    assert losses[1] == pytest.approx(losses[0], rel=0.02)


def test_florist_sends_eight_bits_up_too(tmp_path):
    """Whose bytes down depend on the numbers, and are of the base alone."""
    updates, loss = travelled(tmp_path / "int8", "florist", "int8")
    for u in updates:
        sizes = ((d_in + 4, d_out + 4) for d_in, d_out in MODULES.values())
        given = sum(RANKS[u["client"]] * both(*size) for size in sizes)
        assert u["bytes"]["up"] == given + 4 * EXTRAS
    _, whole = travelled(tmp_path / "none", "florist", "none")
    assert loss == pytest.approx(whole, rel=0.02)
    assert loss != whole


def into_base(name, numbers, rank, d_in, d_out):
    """Of the numbers that are sent, those that go into the base; None where nothing does."""
    if name not in ("flora", "fedex"):
        return None
    return numbers - (rank * both(d_in, d_out) if name == "fedex" else 0)


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
