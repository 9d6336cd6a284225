"""Downloads as steps from what clients have."""

from dataclasses import replace

import pytest
import torch

import polyrank
from polyrank.aggregators.anchored import as_trained
from polyrank.client.state import ClientState, Start
from polyrank.disk.checkpoint import ClientStore, load_tensors
from polyrank.errors import TrainingError
from polyrank.lora.factors import Factors, prefix
from polyrank.protocol.messages import Download
from polyrank.record.run_folder import RunFolder
from polyrank.server.catching_up import CatchingUp
from polyrank.server.saved_state import pack_state, unpack_state
from tests.small import small
from tests.written import lines_in

D_IN, D_OUT, SLOTS = 40, 30, 6


def draw(seed, rank=SLOTS, size=1.0):
    generator = torch.Generator().manual_seed(seed)
    a = torch.randn(rank, D_IN, generator=generator)
    return Factors(a, size * torch.randn(D_OUT, rank, generator=generator), prefix(rank))


def product(factors):
    return factors.b.double() @ factors.a.double()


def near(start, seed, rank=2):
    """The start's product and a change of a low rank, in as many slots."""
    change = draw(seed, rank, size=0.3)
    b, a = torch.cat([start.b, change.b], dim=1), torch.cat([start.a, change.a])
    return as_trained((b.double(), a.double()), draw(0, SLOTS + rank))


def catching_up(held, error=0.01, **options):
    return CatchingUp(held, as_trained, error, **options)


def on_the_client(tmp_path, held, came):
    store = ClientStore(tmp_path)
    store.save("c", 3, {}, {}, {}, {"fc": held})
    state = ClientState(store, Start(0, {"fc": (D_IN, D_OUT)}))
    return state.caught_up(came.opened()[0], came.steps, "c", 3, as_trained)["fc"]


@pytest.mark.parametrize("compression", ["none", "int8"])
def test_a_client_ends_with_what_the_server_thinks_it_has(tmp_path, compression):
    held = draw(1)
    whole = Download({"fc": near(held, 2)}, {})
    sending = catching_up({"c": {"fc": held}}, compression=compression)
    came = sending.step("c", whole)
    assert came.steps == {"fc": SLOTS + 2}
    assert came.adapter["fc"].rank <= 2
    if compression == "int8":
        from polyrank.lora.int8 import packed

        small_one = packed(came.adapter, {})
        came = replace(came, adapter=small_one.adapter, scales=small_one.scales)
    found = on_the_client(tmp_path, held, came)
    torch.testing.assert_close(product(found), product(sending.sent["c"]["fc"]))
    missed = (product(found) - product(whole.adapter["fc"])).norm()
    step = (product(held) - product(whole.adapter["fc"])).norm()
    assert missed <= 0.15 * step
    assert found.b.ne(0).any(dim=0).sum() <= SLOTS + 2
    assert found.a.ne(0).any(dim=1).all(), "slots without effect start anew"


def test_a_client_that_has_nothing_or_is_far_away_is_sent_the_whole(tmp_path):
    whole = Download({"fc": draw(5)}, {})
    for held in ({}, {"c": {"fc": draw(1)}}, {"c": {}}):
        sending = catching_up(held)
        came = sending.step("c", whole)
        assert not came.steps
        assert torch.equal(came.adapter["fc"].a, whole.adapter["fc"].a)
        assert torch.equal(sending.sent["c"]["fc"].a, whole.adapter["fc"].a)


def test_clients_that_have_the_same_share_the_step_and_what_they_have_then():
    held, now = draw(1), near(draw(1), 2)
    sending = catching_up({"c": {"fc": held}, "d": {"fc": held}})
    steps = [sending.step(client, Download({"fc": now}, {})) for client in "cde"]
    assert steps[0].adapter["fc"] is steps[1].adapter["fc"]
    assert sending.sent["c"]["fc"] is sending.sent["d"]["fc"]
    assert not steps[2].steps


def test_what_a_step_lacks_is_in_the_next_one():
    held, now = draw(1), near(draw(1), 2, rank=4)
    missed = []
    for _ in range(6):
        sending = catching_up({"c": {"fc": held}}, error=0.4)
        sending.step("c", Download({"fc": now}, {}))
        held = sending.sent["c"]["fc"]
        missed.append(float((product(held) - product(now)).norm()))
    assert missed[-1] < 0.1 * missed[0]


def test_a_step_from_nothing_is_an_error(tmp_path):
    state = ClientState(ClientStore(tmp_path), Start(0, {"fc": (D_IN, D_OUT)}))
    with pytest.raises(TrainingError, match="keeps nothing"):
        state.caught_up({"fc": draw(1)}, {"fc": 6}, "c", None, as_trained)
    ClientStore(tmp_path).save("c", 3, {}, {})
    with pytest.raises(TrainingError, match="module 'fc': a step was sent, and nothing is held"):
        state.caught_up({"fc": draw(1)}, {"fc": 6}, "c", 3, as_trained)


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("steps")
    for name, error in (("steps", 0.1), ("whole", 0.0)):
        allocator = {"kind": "need", "start": 6, "settled": 0.0, "download_error": error}
        settings = small(allocator=allocator, aggregator="anchored", rounds=6, average=0.8)
        polyrank.run(settings, out=folder / name)
    return folder


def test_steps_are_less_than_whole_models(runs):
    down = {
        n: [x["bytes"]["down"] for x in lines_in(runs / n, "rounds")] for n in ("steps", "whole")
    }
    assert down["steps"][1] == down["whole"][1], "at first nobody has anything"
    assert sum(down["steps"][2:]) < 0.8 * sum(down["whole"][2:])


def test_what_clients_have_is_saved_once_and_still_shared(runs):
    tensors, header = load_tensors(RunFolder(runs / "steps").states()[0])
    state = unpack_state(tensors, header)
    assert set(state.held) == {"0", "1", "2", "3"}
    assert state.held["0"]["fc1"] is state.held["3"]["fc1"]
    again, told = pack_state(state)
    assert told["held"] == header["held"]
    assert {n for n in again if n.startswith("held/")} == {n for n in tensors if "held/" in n}


def test_whoever_missed_a_round_is_sent_the_whole(tmp_path):
    """Two of four clients a round."""
    allocator = {"kind": "need", "start": 6, "settled": 0.0, "download_error": 0.1}
    settings = small(allocator=allocator, aggregator="anchored", rounds=6, cohort_size=2)
    polyrank.run(settings, out=tmp_path / "run")
    cohorts = [set(x["cohort"]) for x in lines_in(tmp_path / "run", "rounds")]
    down = {
        (x["round"], x["client"]): x["bytes"]["down"]
        for x in lines_in(tmp_path / "run", "clients")
        if x["event"] == "update"
    }
    whole = max(down.values())
    again = {(r, c) for r, c in down if r > 1 and c in cohorts[r - 1]}
    assert again
    assert {place for place, size in down.items() if size < whole} <= again
    state = unpack_state(*load_tensors(RunFolder(tmp_path / "run").states()[0]))
    assert set(state.held) == cohorts[-1]


def test_what_the_server_thinks_that_clients_have_is_what_they_keep(runs):
    state = unpack_state(*load_tensors(RunFolder(runs / "steps").states()[0]))
    store = ClientStore(runs / "steps/checkpoint/clients")
    for client, adapter in state.held.items():
        kept = store.load_kept(client, state.trained[client], "held")
        for module, factors in adapter.items():
            torch.testing.assert_close(product(kept[module]), product(factors))
