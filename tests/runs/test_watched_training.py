"""An allocator that chooses slots by their importance while clients train, on real runs."""

import json
from dataclasses import dataclass, field, replace

import numpy as np
import pytest

import polyrank
from polyrank.allocators import Evidence, Limits, Needs, choose_slots
from polyrank.allocators.slot_scores import slot_change, slot_magnitude, slot_sensitivity
from polyrank.errors import QuorumError
from polyrank.report import build_live, read_run
from tests.small import small


@dataclass(frozen=True)
class Important:
    """Everybody starts with all slots; each client keeps its five most important, wherever."""

    needs: Needs = field(default_factory=lambda: Needs(slots=True, observes=slot_sensitivity))

    def step(self, state, evidence: Evidence, limits: Limits):
        every = {m: list(range(r.r_max)) for m, r in limits.modules.items()}
        slots = state or dict.fromkeys(evidence.clients, every)
        for client, modules in evidence.observed.items():
            least = np.sort(np.concatenate([*modules.values()]))[-5:][0]
            kept = {m: evidence.slots[client][m][n >= least].tolist() for m, n in modules.items()}
            slots = {**slots, client: {m: kept.get(m, []) for m in every}}
        return choose_slots(evidence, limits, slots, "the five most important"), slots


class ByChange(Important):
    def __init__(self):
        super().__init__(Needs(slots=True, observes=slot_change))


class ByMagnitude(Important):
    def __init__(self):
        super().__init__(Needs(slots=True, observes=slot_magnitude))


class Forgetful:
    """A watcher that has nothing to say of the last module."""

    def watching(self, parameters):
        return slot_sensitivity.watching(dict([*parameters.items()][:-1]))


class ByForgetful(Important):
    def __init__(self):
        super().__init__(Needs(slots=True, observes=Forgetful()))


def watched(name="Important", **changes):
    base = {"aggregator": "rbla", "rounds": 4, "cohort_size": 3}
    return small(allocator=f"{__name__}:{name}", **base | changes)


def lines(run, kind):
    return [json.loads(line) for line in (run / f"{kind}.jsonl").read_text().splitlines()]


def contents(run):
    wanted = {"rounds.jsonl", "clients.jsonl", "summary.json"}
    kept = [p for p in run.rglob("*") if p.name in wanted or p.suffix == ".safetensors"]
    return {str(p.relative_to(run)): p.read_bytes() for p in kept}


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    path = tmp_path_factory.mktemp("watched") / "run"
    polyrank.run(watched(), out=path)
    return path


def test_clients_keep_their_most_important_slots(whole):
    chosen = [x for x in lines(whole, "clients") if x["event"] == "ranks"]
    assert len({x["client"] for x in chosen}) > 1
    assert all(sum(x["ranks"].values()) == 5 for x in chosen)
    assert any(x["ranks"]["fc1"] != 5 and x["ranks"]["fc2"] != 5 for x in chosen)


def test_the_report_and_its_live_page_draw_the_slots_that_are_left(whole):
    assert 'data-figure="run0-slots-left"' in (whole / "report.html").read_text()
    going_on = replace(read_run(whole), summary=None)
    assert 'data-figure="run0-slots-left"' in build_live(going_on, "1")


def test_it_goes_on_after_a_kill_to_the_same_bits(whole, tmp_path):
    polyrank.run(watched(rounds=2), out=tmp_path / "cut")
    polyrank.resume(tmp_path / "cut", overrides=["rounds=4"], trust=True)
    assert contents(tmp_path / "cut") == contents(whole)


def test_workers_and_batches_in_parts_change_no_choice(whole, tmp_path):
    polyrank.run(watched(workers=2), out=tmp_path / "run")
    assert (tmp_path / "run/clients.jsonl").read_text() == (whole / "clients.jsonl").read_text()
    polyrank.run(watched(training={"accumulate": 2}), out=tmp_path / "parts")
    wanted = [x["slots"] for x in lines(whole, "clients") if x["event"] == "ranks"]
    assert [x["slots"] for x in lines(tmp_path / "parts", "clients") if x["event"] == "ranks"] == (
        wanted
    )


@pytest.mark.parametrize("name", ["ByChange", "ByMagnitude"])
def test_change_and_magnitude_choose_in_its_place(name, tmp_path, whole):
    polyrank.run(watched(name), out=tmp_path / "run")
    chosen = [x for x in lines(tmp_path / "run", "clients") if x["event"] == "ranks"]
    assert chosen
    assert all(sum(x["ranks"].values()) == 5 for x in chosen)


def test_a_third_factor_is_watched_too(tmp_path):
    """With e at 0 at first, neither a nor b has a gradient in the first step; e has."""
    svd = {"adapter": {"parametrisation": "svd"}}
    for name in ("Important", "ByMagnitude"):
        polyrank.run(watched(name, **svd), out=tmp_path / name)
        chosen = [x for x in lines(tmp_path / name, "clients") if x["event"] == "ranks"]
        assert chosen
        assert all(sum(x["ranks"].values()) == 5 for x in chosen)


def test_watching_where_one_factor_is_frozen_scores_the_other(tmp_path):
    """ffa trains b alone."""
    polyrank.run(watched(aggregator="ffa"), out=tmp_path / "run")
    assert [x for x in lines(tmp_path / "run", "clients") if x["event"] == "ranks"]


def test_a_watch_that_leaves_out_a_module_is_refused(tmp_path):
    with pytest.raises(QuorumError, match=r"observed modules \['fc1'\], expected \['fc1', 'fc2'\]"):
        polyrank.run(watched("ByForgetful"), out=tmp_path / "run")
