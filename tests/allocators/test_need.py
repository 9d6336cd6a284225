"""The allocator ``need``: ranks that nobody sets."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch

import polyrank
from polyrank.aggregators import AGGREGATORS
from polyrank.allocators import ALLOCATORS, Budget, Evidence, Limits, ModuleRange
from polyrank.allocators.need import Need, enough
from polyrank.disk.checkpoint import load_tensors
from polyrank.errors import SettingsError
from polyrank.record.run_folder import RunFolder
from polyrank.registry import Named
from polyrank.runs.trained_model import read_trained
from polyrank.settings.toml import make_settings
from tests.small import small
from tests.written import lines_in


def takes_changes(aggregator):
    return AGGREGATORS.build(Named(aggregator, {})).of_changes is not None


LIMITS = Limits({"m": ModuleRange(1, 40, 10), "n": ModuleRange(1, 5, 10)})
LOSSES = {0: 2.0, 1: 1.5, 2: 1.2, 4: 1.02, 8: 1.004, 16: 1.0}


@pytest.mark.parametrize(
    ("tolerance", "found"), [(0.5, 1), (0.05, 4), (0.005, 8), (0.0, 16), (0.2, 2), (0.999, 1)]
)
def test_enough_is_the_least_that_keeps_the_gain(tolerance, found):
    assert enough(LOSSES, tolerance) == found


@pytest.mark.parametrize(("left", "found"), [(1.0, 4), (0.2, 8), (0.02, 16), (0.002, 16)])
def test_where_little_loss_is_left_less_of_it_may_be_lost(left, found):
    """The same gain: 0.02 more loss at 4 slots, and 0.004 at 8, is much of 0.2, and of 0.02."""
    losses = {k: loss - 1.0 + left for k, loss in LOSSES.items()}
    assert enough(losses, 0.05) == found


def test_where_hardly_any_loss_is_left_a_share_of_the_gain_stands_for_it():
    assert enough({0: 2.0, 2: 2e-3, 4: 9e-4, 8: 1e-9}, 0.05) == 4  # 0.05 of 0.01 of 2


def test_a_number_that_is_enough_by_chance_alone_is_not():
    """At 2 slots the loss is good, at 4 it is not: noise, or a step that more slots undo."""
    assert enough({**LOSSES, 2: 1.0}, 0.01) == 8


@pytest.mark.parametrize("last", [1.2, 2.0, 3.0])
def test_slots_that_make_the_model_worse_are_not_needed(last):
    assert enough({0: 2.0, 2: 1.15, 4: 1.0, 8: last}, 0.1) == 4
    assert enough({0: 2.0, 2: 1.05, 4: 1.0, 8: last}, 0.1) == 2


@pytest.mark.parametrize("losses", [(2.0, 2.0), (2.5, 3.0), (1.0, float("nan"))])
def test_slots_that_gain_nothing_say_nothing(losses):
    assert enough({0: 2.0, 4: losses[0], 8: losses[1]}, 0.1) is None


def step(need, state, cuts=(), round=1, clients="ab", limits=LIMITS):
    evidence = Evidence([*clients], {}, round, 0, 10, cuts=dict(cuts))
    return need.step(state, evidence, limits)


def flat_from(k, slots):
    """Losses that fall up to k slots, and no further."""
    return {j: 1 + max(0, k - j) / k for j in [0, *range(1, slots), slots]}


def test_it_starts_small_and_grows_where_the_reserve_is_used_up():
    need, slots = Need(start=8, tolerance=0.01, reserve=0.25, spare=0), []
    choice, state = step(need, None, round=0)
    for _ in range(5):
        slots.append(int(choice.ranks["m"][0]))
        choice, state = step(need, state, flat_from(20, slots[-1]))
    assert slots == [8, 12, 18, 27, 27]  # 20 are enough, and a quarter more is 25


def test_it_shrinks_where_two_measurements_in_a_row_say_so():
    need = Need(start=4, tolerance=0.01, reserve=0.25, spare=0)
    _, state = step(need, None, round=0)
    state, slots = {**state, "slots": 16}, []
    for k in (4, 14, 4, 4, 4):
        choice, state = step(need, state, flat_from(k, state["slots"]))
        slots.append(int(choice.ranks["m"][0]))
    assert slots == [16, 24, 24, 5, 5]


def test_it_never_shrinks_below_those_that_it_started_with():
    need = Need(start=6, tolerance=0.01, spare=0)
    _, state = step(need, None, round=0)
    state, slots = {**state, "slots": 10}, []
    for k in (5, 2, 2, 2):
        choice, state = step(need, state, flat_from(k, state["slots"]))
        slots.append(choice.down)
    assert slots == [10, 10, 6, 6]


def test_a_round_without_a_measurement_changes_nothing():
    _, state = step(Need(), None, round=0)
    _, later = step(Need(), {**state, "fewer": 1})
    assert later == {**state, "fewer": 1}


def test_modules_and_clients_hold_what_they_can():
    limits = replace(LIMITS, caps=np.array([3, 100]))
    choice, _ = step(Need(start=8, spare=0), None, round=0, limits=limits)
    assert {m: ranks.tolist() for m, ranks in choice.ranks.items()} == {"m": [3, 8], "n": [3, 5]}
    assert choice.capped.tolist() == [True, False]  # module n is full at 5, for all
    assert choice.errors.tolist() == [0.2, 0.2]


def test_where_few_clients_take_part_each_owes_less():
    evidence = Evidence(["a", "b"], {}, rounds=10, participation=0.25)
    choice, _ = Need(error=0.2).step(None, evidence, LIMITS)
    assert choice.errors.tolist() == [0.05, 0.05]


def test_a_client_trains_several_times_the_slots_that_it_is_sent():
    need = Need(start=2, spare=2.5, tolerance=0.01, reserve=0)
    choice, state = step(need, None, round=0)
    assert {m: ranks.tolist() for m, ranks in choice.ranks.items()} == {"m": [7, 7], "n": [5, 5]}
    assert (choice.down, choice.capped.tolist()) == (2, [False, False])
    choice, state = step(need, state, {0: 2.0, 2: 1.5, 4: 1.2, 6: 1.0, 7: 1.0})
    assert (choice.down, choice.ranks["m"].tolist()) == (6, [21, 21])


def test_it_measures_after_the_first_rounds_and_not_the_last():
    need = Need(settled=0.5)
    assert need.needs.cuts(5, 0, 10) == []
    assert need.needs.cuts(5, 5, 10) == [0, 1, 2, 3, 4, 5]
    assert need.needs.cuts(20, 5, 10) == [0, 2, 3, 4, 6, 8, 12, 16, 20]
    assert need.needs.cuts(5, 6, 10) == []


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"error": 1.0}, "error: expected from 0 to below 1, got 1.0"),
        ({"tolerance": -0.1}, "tolerance: expected from 0"),
        ({"feedback": 1.5}, "feedback: expected from 0 to 1, got 1.5"),
        ({"settled": -1}, "settled: expected from 0 to 1"),
        ({"start": 0}, "start: expected at least 1 slot, got 0"),
        ({"reserve": -1.0}, "reserve: expected a number from 0"),
        ({"spare": float("inf")}, "spare: expected a number from 0"),
        ({"spare": 1e308}, "spare: expected a number from 0 to 100, got 1e"),
        ({"reserve": 1e308}, "reserve: expected a number from 0 to 100, got 1e"),
    ],
)
def test_options_out_of_range_are_named(options, said):
    with pytest.raises(SettingsError, match=said):
        ALLOCATORS.build(Named("need", options))


def by_need(**changes):
    need = {"kind": "need", "start": 3, "spare": 3}
    named = {"allocator": need, "aggregator": "anchored", **changes}
    plain = small(**named).model_dump(exclude={"ranks", "recipe", "server_optimizer", "average"})
    return make_settings(plain)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("need") / "run"
    training = {"epochs": 3, "batch_size": 16, "learning_rate": 0.02}
    polyrank.run(by_need(rounds=6, training=training), out=folder)
    return folder


def test_a_run_names_no_rank_and_finds_some(run):
    assert (by_need().ranks.r_min, by_need().ranks.r_max) == (1, 64)
    ranks = [x["ranks"]["fc1"] for x in lines_in(run, "clients") if x["event"] == "ranks"]
    assert ranks
    assert max(ranks) > 3
    updates = [x for x in lines_in(run, "clients") if x["event"] == "update"]
    for line in updates:
        assert all(share >= 0.8 for share in line["shares"].values())
        assert line["shares"].keys() == line["ranks"].keys()
    assert len({line["ranks"]["fc1"] for line in updates}) > 1


def test_a_client_of_a_small_cohort_sends_more_of_its_change(tmp_path, run):
    polyrank.run(by_need(rounds=3, cohort_size=1), out=tmp_path / "run")
    least = {}
    for folder in (run, tmp_path / "run"):
        told = [x["shares"] for x in lines_in(folder, "clients") if x["event"] == "update"]
        least[folder] = min(share for shares in told for share in shares.values())
    clients = len({x["client"] for x in lines_in(run, "clients")})
    assert least[tmp_path / "run"] >= 1 - 0.2 / clients > least[run]


def test_the_server_has_as_many_slots_as_it_needs_and_so_has_the_export(run):
    _, header = load_tensors(RunFolder(run).states()[0])
    slots = header["allocator"]["slots"]
    model = read_trained(run, None)
    assert model.adapter["fc1"].rank == min(slots, 16)


def test_bytes_up_are_those_of_the_triples_that_were_sent(run):
    """Factors of r_k triples a module, the extras, and eight bytes a share."""
    shapes = {"fc1": (64, 16), "fc2": (16, 10)}
    extras = 4 * (16 + 10)
    for line in (x for x in lines_in(run, "clients") if x["event"] == "update"):
        sent = sum(4 * r * sum(shapes[m]) for m, r in line["ranks"].items())
        assert line["bytes"]["up"] == sent + extras + 8 * len(shapes)


def test_bytes_down_are_those_of_the_slots_that_are_sent_and_not_of_the_spare_ones(run):
    shapes = {"fc1": (64, 16), "fc2": (16, 10)}
    down = {line["round"]: line["down"] for line in lines_in(run, "rounds") if line.get("down")}
    assert down[1] == 3
    for line in (x for x in lines_in(run, "clients") if x["event"] == "update"):
        slots = {m: min(down[line["round"]], *shape) for m, shape in shapes.items()}
        sent = sum(4 * slots[m] * sum(shape) for m, shape in shapes.items())
        assert line["bytes"]["down"] == sent + 4 * (16 + 10)


def test_cuts_of_the_model_are_in_the_records_of_the_round_that_they_are_for(run):
    lines = lines_in(run, "rounds")
    assert [bool(line.get("cuts")) for line in lines] == [False, False, *[True] * 3, *[False] * 2]
    assert {"slots": 0, "loss": lines[2]["cuts"][0]["loss"]} == lines[2]["cuts"][0]


def test_slots_are_read_off_the_running_mean(tmp_path):
    cuts = []
    for average in (0.0, 0.8):
        settings = by_need(rounds=5).model_copy(update={"average": average})
        polyrank.run(settings, out=tmp_path / str(average))
        cuts.append([line.get("cuts") for line in lines_in(tmp_path / str(average), "rounds")])
    assert cuts[0][2] == cuts[1][2]  # after one round the mean is the model itself
    assert cuts[0][3] != cuts[1][3]


def test_with_whole_changes_a_round_is_that_of_the_factors(tmp_path):
    """No error, as many slots as uniform ranks have, no measurement."""
    whole = {"kind": "need", "start": 6, "error": 0.0, "spare": 0.0, "settled": 0.0}
    uniform = {"kind": "uniform", "rank": 6}
    models = []
    for name, allocator in (("need", whole), ("uniform", uniform)):
        settings = small(allocator=allocator, aggregator="anchored", rounds=2)
        polyrank.run(settings, out=tmp_path / name)
        models.append(read_trained(tmp_path / name, None).adapter)
    for module, f in models[0].items():
        other = models[1][module]
        torch.testing.assert_close(f.b @ f.a, other.b @ other.a, atol=1e-3, rtol=1e-2)


def test_what_a_client_has_not_sent_survives_a_round_in_which_it_was_refused(tmp_path):
    """Its file of the last accepted round is the one that counts."""
    settings = by_need(rounds=4, cohort_size=2)
    polyrank.run(settings, out=tmp_path / "run")
    trained = load_tensors(RunFolder(tmp_path / "run").states()[0])[1]["trained"]
    for client, round in trained.items():
        path = tmp_path / "run/checkpoint/clients" / f"{client}.{round}.safetensors"
        assert any(name.startswith("owed/") for name in load_tensors(path)[0])


def test_an_adapter_with_more_slots_than_the_start_is_refused(tmp_path, run):
    polyrank.export(run, out=tmp_path / "peft")
    settings = by_need(
        allocator={"kind": "need", "start": 1, "spare": 0}, init_adapter=str(tmp_path / "peft")
    )
    with pytest.raises(SettingsError, match="beyond the 1 that the allocator starts with"):
        polyrank.run(settings, out=tmp_path / "next")
    summary = json.loads((run / "summary.json").read_text())
    assert summary["failed"] == 0


def test_the_best_score_sends_most_of_its_change():
    ordered = Need(error=0.2, of="autorank", of_options={"spread": "paper"})
    evidence = Evidence([*"abc"], {"x": np.array([1.0, 3.0, 2.0])}, 0, 0, 10)
    choice, state = ordered.step(None, evidence, LIMITS)
    assert choice.errors == pytest.approx([0.4, 0.1, 0.2], abs=0.02)
    later, _ = ordered.step(state, replace(evidence, criteria={}, round=1), LIMITS)
    assert later.errors.tolist() == choice.errors.tolist()
    alike = Need(error=0.2, of="autorank")
    evidence = replace(evidence, criteria={"x": np.array([2.0, 2.01, 2.0])})
    assert alike.step(None, evidence, LIMITS)[0].errors.tolist() == [0.2] * 3


@pytest.mark.parametrize(
    ("of", "said"),
    [("fedara", "chooses once, got 'fedara'"), ("uniform", "with scores, got 'unif")],
)
def test_another_allocator_has_scores_and_chooses_once(of, said):
    with pytest.raises(SettingsError, match=f"need: of: expected an allocator .*{said}"):
        Need(of=of).step(None, Evidence(["a"], {}), LIMITS)


def test_a_budget_raises_what_need_not_be_sent_until_it_is_met_and_no_further():
    """Clients that send 8 triples a module at an error of 0.1, half as many at four times it."""
    limits = replace(LIMITS, budget=Budget("mean_rank", 3.0))
    need = Need(error=0.1)
    evidence = Evidence([*"abcd"], {}, 0, 0, 50)
    choice, state = need.step(None, evidence, limits)
    costs = []
    for round in range(1, 20):
        sent = max(1, round_down(8 * (0.1 / choice.errors[0]) ** 0.5))
        costs.append(sent)
        of = {client: {"m": sent, "n": sent} for client in "ab"}
        choice, state = need.step(state, replace(evidence, round=round, sent=of), limits)
    assert costs[0] == 8
    assert set(costs[-5:]) <= {2, 3}
    roomy = replace(limits, budget=Budget("mean_rank", 9.0))
    choice, state = need.step(None, evidence, roomy)
    assert choice.errors.tolist() == [0.1] * 4
    later = replace(evidence, round=1, sent={"a": {"m": 8, "n": 8}})
    assert need.step(state, later, roomy)[0].errors.tolist() == [0.1] * 4


def round_down(number: float) -> int:
    return int(number + 1e-9)


@pytest.mark.parametrize("aggregator", [n for n in AGGREGATORS if takes_changes(n)])
def test_changes_travel_in_eight_bits_at_nearly_the_same_loss(tmp_path, aggregator):
    """A byte a number and four a scale, under every aggregator that takes changes."""
    losses = []
    for compression in ("none", "int8"):
        folder = tmp_path / compression
        settled = {"kind": "need", "start": 3, "settled": 0.0}
        settings = by_need(aggregator=aggregator, compression=compression, allocator=settled)
        polyrank.run(settings, out=folder)
        losses.append(lines_in(folder, "rounds")[-1]["test"]["loss"])
    shapes, extras = {"fc1": (64, 16), "fc2": (16, 10)}, 4 * (16 + 10)
    for line in (x for x in lines_in(folder, "clients") if x["event"] == "update"):
        sent = sum(r * (sum(shapes[m]) + 2 * 4) for m, r in line["ranks"].items())
        assert line["bytes"]["up"] == sent + extras + 8 * len(shapes)
    assert losses[1] != losses[0]
    assert losses[1] == pytest.approx(losses[0], rel=0.02)
