"""An allocator that observes every slot and chooses slots by number, on real runs."""

import json
from dataclasses import dataclass, field

import pytest
import torch

import polyrank
from polyrank.allocators import Evidence, Limits, Needs, choose_slots
from polyrank.disk.checkpoint import load_tensors
from polyrank.errors import QuorumError, SettingsError
from polyrank.record.run_folder import RunFolder
from polyrank.runs.trained_model import read_trained
from tests.small import small


def change_of_each_slot(before, after):
    """Norm of each slot's change: (r,)."""
    moved = (after.a - before.a).square().sum(1) + (after.b - before.b).square().sum(0)
    return moved.sqrt()


@dataclass(frozen=True)
class Liveliest:
    """Everybody starts with all slots; after each round the two that moved most are kept."""

    needs: Needs = field(default_factory=lambda: Needs(slots=True, observes=change_of_each_slot))

    def step(self, state, evidence: Evidence, limits: Limits):
        every = {m: list(range(r.r_max)) for m, r in limits.modules.items()}
        slots = state or dict.fromkeys(evidence.clients, every)
        for client, modules in evidence.observed.items():
            kept = {}
            for module, numbers in modules.items():
                best = numbers.argsort()[::-1][:2]
                kept[module] = sorted(evidence.slots[client][module][best].tolist())
            slots = {**slots, client: kept}
        return choose_slots(evidence, limits, slots, "those that move most"), slots


class Narrow(Liveliest):
    """Says that it has ranks alone, and chooses slots."""

    def __init__(self):
        super().__init__(Needs(observes=change_of_each_slot))


class Blunt(Liveliest):
    """Observes one number a module where one a slot is expected."""

    def __init__(self):
        super().__init__(Needs(slots=True, observes=lambda before, after: after.a.sum()[None]))


def lines(run, kind):
    return [json.loads(line) for line in (run / f"{kind}.jsonl").read_text().splitlines()]


def contents(run):
    wanted = {"rounds.jsonl", "clients.jsonl", "summary.json"}
    kept = [p for p in run.rglob("*") if p.name in wanted or p.suffix == ".safetensors"]
    return {str(p.relative_to(run)): p.read_bytes() for p in kept}


def liveliest(name="Liveliest", **changes):
    return small(allocator=f"{__name__}:{name}", aggregator="rbla", **changes)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    path = tmp_path_factory.mktemp("slots") / "run"
    polyrank.run(liveliest(rounds=4, cohort_size=3), out=path)
    return path


def test_clients_train_and_keep_slots_that_are_no_prefix(whole):
    plan = load_tensors(RunFolder.open(whole).last_state())[1]["plan"]
    chosen = {c: of for c, of in plan.items() if any(isinstance(s, list) for s in of.values())}
    assert chosen, "some client should have slots that are no prefix"
    told = [x for x in lines(whole, "clients") if x["event"] == "ranks"]
    for client, modules in chosen.items():
        last = [x for x in told if x["client"] == client][-1]
        for module, slots in modules.items():
            numbers = slots if isinstance(slots, list) else list(range(slots))
            assert len(numbers) == last["ranks"][module]
            assert numbers == last["slots"][module]
    updates = [x for x in lines(whole, "clients") if x["event"] == "update" and x["round"] == 4]
    kept = read_trained(whole, updates[0]["client"]).adapter
    assert all(f.rank == 2 for f in kept.values())


def test_what_is_observed_is_sent_and_counted(whole):
    """Four bytes a slot up, beside both factors; slot numbers both ways where no prefix is."""
    first = next(x for x in lines(whole, "clients") if x["event"] == "update")
    numbers = 6 * (64 + 16 + 16 + 10) + 16 + 10
    assert first["bytes"] == {"down": 4 * numbers, "up": 4 * (numbers + 2 * 6)}


def test_it_goes_on_after_a_kill_to_the_same_bits(whole, tmp_path):
    polyrank.run(liveliest(rounds=2, cohort_size=3), out=tmp_path / "cut")
    polyrank.resume(tmp_path / "cut", overrides=["rounds=4"], trust=True)
    assert contents(tmp_path / "cut") == contents(whole)


def test_workers_change_nothing(whole, tmp_path):
    polyrank.run(liveliest(rounds=4, cohort_size=3, workers=2), out=tmp_path / "run")
    assert (tmp_path / "run/clients.jsonl").read_text() == (whole / "clients.jsonl").read_text()


def test_an_allocator_that_has_not_said_so_may_not_choose_slots(tmp_path):
    with pytest.raises(SettingsError, match=r"expected Needs\(slots=True\)"):
        polyrank.run(liveliest("Narrow"), out=tmp_path / "run")


def test_an_observer_that_gives_no_number_a_slot_is_refused(tmp_path):
    with pytest.raises(QuorumError, match=r"observed of module 'fc1': shape \(1,\).*\(6,\)"):
        polyrank.run(liveliest("Blunt"), out=tmp_path / "run")


def test_ranks_by_a_one_shot_chooser_are_chosen_again_as_the_ranks_table_says(tmp_path):
    settings = small(
        allocator={"kind": "autorank", "spread": "paper"},
        criteria=["loss_entropy_examples"],
        ranks={"refresh_every": 1},
        rounds=4,
    )
    polyrank.run(settings, out=tmp_path / "run")
    assert {x["round"] for x in lines(tmp_path / "run", "clients") if x["event"] == "ranks"}
    measured = [x["probe_steps"] for x in lines(tmp_path / "run", "rounds")]
    assert len(measured) == 5
    assert len(set(measured[:1] + measured[2:])) == 1
    assert measured[1] == 0
    assert torch.tensor(measured).sum() > 0
