"""Ranks that change in mid-run, on real runs."""

import json
from dataclasses import replace

import pytest

import polyrank
from polyrank.allocators import Needs
from polyrank.allocators.uniform import uniform
from polyrank.disk.checkpoint import load_tensors
from polyrank.errors import SettingsError
from polyrank.record.run_folder import RunFolder
from polyrank.report import build_live, read_run
from polyrank.runs.trained_model import read_trained
from tests.small import small
from tests.whole_runs import EVERY_2, LOSSES, PAPER, PRUNED


def lines(run, kind):
    return [json.loads(line) for line in (run / f"{kind}.jsonl").read_text().splitlines()]


def test_autorank_measures_and_chooses_again_every_k_rounds(tmp_path):
    settings = small(allocator=PAPER, ranks=EVERY_2, rounds=5, criteria=LOSSES)
    polyrank.run(settings, out=tmp_path / "run")
    events = [x for x in lines(tmp_path / "run", "clients") if x["event"] == "ranks"]
    assert events, "the losses of later rounds should have moved a rank"
    assert {x["round"] for x in events} <= {3, 5}
    summary = json.loads((tmp_path / "run/summary.json").read_text())
    last = {x["client"]: x["ranks"] for x in events}
    assert all(summary["ranks"][client] == ranks for client, ranks in last.items())
    assert 'data-figure="run0-rank-history"' in (tmp_path / "run/report.html").read_text()
    going_on = replace(read_run(tmp_path / "run"), summary=None)
    assert 'data-figure="run0-rank-history"' in build_live(going_on, "1")


def test_measuring_again_costs_what_it_cost_at_first(tmp_path):
    once = polyrank.run(small(rounds=5, criteria=LOSSES), out=tmp_path / "once").summary
    settings = small(allocator=PAPER, ranks=EVERY_2, rounds=5, criteria=LOSSES)
    again = polyrank.run(settings, out=tmp_path / "again").summary
    assert once["steps"]["probe"] > 0
    assert again["steps"]["probe"] == 3 * once["steps"]["probe"]
    first, second = (lines(tmp_path / n, "rounds")[0]["bytes"] for n in ("once", "again"))
    assert first == second


def test_hetlora_gives_up_the_slots_that_its_penalty_has_shrunk(tmp_path):
    settings = small(
        allocator=PRUNED,
        aggregator={"kind": "hetlora", "penalty": 0.5, "decay": 0.8},
        rounds=6,
        training={"epochs": 3},
    )
    polyrank.run(settings, out=tmp_path / "run")
    events = [x for x in lines(tmp_path / "run", "clients") if x["event"] == "ranks"]
    ranks = [x["ranks"]["fc1"] for x in events if x["client"] == events[0]["client"]]
    assert ranks[0] == 4  # floor(0.8 * 6)
    assert ranks == sorted(ranks, reverse=True)
    # b is zero before round 1, so that no tail can be smaller after it
    assert min(x["round"] for x in events) >= 2


@pytest.mark.parametrize(
    "aggregator", [{"kind": "hetlora", "penalty": 0.5, "decay": 0.8}, "rolora"]
)
def test_what_a_client_has_cut_it_neither_sends_nor_keeps(tmp_path, aggregator):
    """Bytes up are those of the ranks of the next round, bytes down those of the round's own."""
    settings = small(
        allocator=PRUNED,
        aggregator=aggregator,
        rounds=4,
        training={"epochs": 3, "optimizer": "adamw", "weight_decay": 0.5},
    )
    polyrank.run(settings, out=tmp_path / "run")
    told = lines(tmp_path / "run", "clients")
    ranks = {x["client"]: {1: x["ranks"]} for x in told if x["event"] == "profile"}
    for x in told:
        if x["event"] == "ranks":
            ranks[x["client"]][x["round"]] = x["ranks"]
    changed = {x["round"] for x in told if x["event"] == "ranks"}
    assert changed, "some tail should have shrunk"

    def at(client, number):
        return ranks[client][max(n for n in ranks[client] if n <= number)]

    def floats(of, parts):
        sizes = {"fc1": {"a": 64, "b": 16}, "fc2": {"a": 16, "b": 10}}
        return sum(r * sum(sizes[m][p] for p in parts) for m, r in of.items()) + 16 + 10

    rolora = aggregator == "rolora"
    for x in (x for x in told if x["event"] == "update" and x["round"] < 4):
        client, number = x["client"], x["round"]
        up = ("b" if number % 2 else "a") if rolora else "ab"
        fresh = not rolora or number == 1 or number in changed
        down = "ab" if fresh else ("a" if number % 2 else "b")
        assert x["bytes"]["up"] == 4 * floats(at(client, number + 1), up)
        assert x["bytes"]["down"] == 4 * floats(at(client, number), down)
    header = load_tensors(RunFolder.open(tmp_path / "run").last_state())[1]
    assert header["sent"] != header["plan"], "some tail should have shrunk in the last round"
    for client in ranks:
        kept = read_trained(tmp_path / "run", client).adapter
        assert {m: f.rank for m, f in kept.items()} == header["sent"][client]


def test_a_method_for_equal_ranks_is_refused_where_clients_cut_theirs(tmp_path):
    with pytest.raises(SettingsError, match="'fedavg' needs the same rank for all clients"):
        polyrank.run(small(allocator=PRUNED, aggregator="fedavg"), out=tmp_path / "run")


def test_eva_gives_modules_ranks_by_the_variance_of_their_inputs(tmp_path):
    ranks = {"r_min": 1, "r_max": 12}
    settings = small(allocator={"kind": "eva", "rank": 4}, ranks=ranks, rounds=1)
    polyrank.run(settings, out=tmp_path / "run")
    profiles = [x for x in lines(tmp_path / "run", "clients") if x["event"] == "profile"]
    assert all(sum(x["ranks"].values()) == 8 for x in profiles)
    assert any(len(set(x["ranks"].values())) == 2 for x in profiles)
    probed = lines(tmp_path / "run", "rounds")[0]["bytes"]["up"]
    assert probed == 8 * 4 * (12 + 12)  # clients, and the leading ratios of both modules


def test_refresh_every_must_be_a_round():
    with pytest.raises(SettingsError, match=r"ranks\.refresh_every"):
        small(ranks={"refresh_every": 0})


class Growing:
    """Rank 2 for the first two rounds, then 4."""

    needs = Needs()

    def step(self, state, evidence, limits):
        return uniform(evidence, limits, rank=2 if evidence.round < 2 else 4), None


def test_a_client_whose_rank_has_grown_is_sent_both_factors_again(tmp_path):
    """RoLoRA's clients, who all take part: b in round 2, a in 3, but for round 3's new slots."""
    growing = "tests.runs.test_changing_ranks:Growing"
    settings = small(aggregator="rolora", allocator=growing, rounds=5, ranks={"refresh_every": 1})
    polyrank.run(settings, out=tmp_path / "run")
    down = {
        x["round"]: x["bytes"]["down"]
        for x in lines(tmp_path / "run", "clients")
        if x["event"] == "update"
    }
    a, b, extras = 64 + 16, 16 + 10, 16 + 10
    numbers = {1: 2 * (a + b), 2: 2 * b, 3: 4 * (a + b), 4: 4 * b, 5: 4 * a}
    assert down == {number: 4 * (sent + extras) for number, sent in numbers.items()}
