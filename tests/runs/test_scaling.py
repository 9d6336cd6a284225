"""A scaling that depends on the rank, in whole runs, against the formula written out."""

import pytest
import torch

import polyrank
from polyrank.disk.checkpoint import ClientStore, load_tensors
from polyrank.errors import SettingsError
from polyrank.lora.factors import Factors, prefix
from polyrank.record.run_folder import RunFolder
from polyrank.runs.export import export
from polyrank.runs.preparation import prepare
from polyrank.server.saved_state import unpack_state
from tests.small import small
from tests.whole_runs import contents
from tests.written import lines_in

ALPHA = 10.0
BY_RANK = {"scaling": {"alpha": ALPHA, "per": "rank"}}
PLAIN = {"server_optimizer": "none", "average": 0.0, "evaluation": {"every": 1}}


def loss_by_hand(base, adapter, extras, scaling, view):
    """The mean cross-entropy of W x + s B A x + bias with a ReLU between, on some rows."""
    x, y = view.examples.batch(view.numbers)
    x = x.flatten(1)
    for name in ("fc1", "fc2"):
        f = adapter[name]
        weight = base[f"{name}.weight"] + scaling(name, f.rank) * f.b @ f.a
        x = x @ weight.T + extras[f"{name}.bias"]
        x = x.relu() if name == "fc1" else x
    return float(torch.nn.functional.cross_entropy(x, y))


def test_a_client_is_at_alpha_over_its_rank_and_the_server_at_alpha_over_the_largest(tmp_path):
    """Nobody has the server's last slots, which do not count."""
    ranks = {"kind": "ratio", "ratios": [0.2, 0.4, 0.6, 0.8]}
    settings = small(
        adapter=BY_RANK, allocator=ranks, ranks={"r_min": 1, "r_max": 10}, rounds=2, **PLAIN
    )
    folder = polyrank.run(settings, out=tmp_path / "run").folder
    ready, run = prepare(settings, None), RunFolder(folder)
    base = ready.server.blueprint.base
    state = unpack_state(*load_tensors(run.last_state()))
    model = state.model

    def over(rank):
        return lambda name, _: ALPHA / rank

    held = [f.rank for f in model.adapter.values()]
    assert held == [10, 10]
    told = lines_in(folder, "rounds")[-1]["test"]["loss"]
    by_hand = loss_by_hand(base, model.adapter, model.extras, over(8), ready.server.rows["test"])
    assert told == pytest.approx(by_hand, rel=1e-5)
    finals = {x["client"]: x for x in lines_in(folder, "clients") if x["event"] == "final"}
    for client, rank in {"0": 2, "3": 8}.items():
        adapter, extras = ClientStore(run.clients).load(client, 2)
        assert {f.rank for f in adapter.values()} == {rank}
        view = ready.sites[client].test
        own = loss_by_hand(base, adapter, extras, over(rank), view)
        assert finals[client]["personal"]["loss"] == pytest.approx(own, rel=1e-5)


@pytest.mark.parametrize("aggregator", ["rbla", "flexlora", "flora"])
def test_at_one_rank_for_all_alpha_over_r_is_that_constant(tmp_path, aggregator):
    found = []
    for number, scaling in enumerate([0.5, {"alpha": 3.0, "per": "rank"}]):
        settings = small(
            aggregator=aggregator,
            allocator={"kind": "uniform", "rank": 6},
            adapter={"scaling": scaling},
            rounds=2,
        )
        folder = polyrank.run(settings, out=tmp_path / str(number)).folder
        found.append(contents(folder, but=("config.toml",)))
    for name, content in found[0].items():
        if "round-" not in name:  # a state holds the settings
            assert content == found[1][name], name


@pytest.mark.parametrize("aggregator", ["anchored", "flexlora", "raflora", "hetlora", "ffa"])
def test_methods_of_products_are_given_and_give_products_at_one_scaling(aggregator):
    """A client of 2 of 6 slots starts at the server's product of those slots, and sends its own."""
    settings = small(
        aggregator=aggregator,
        adapter={"scaling": {"alpha": 3.0, "per": "sqrt_rank"}},
        model={"kind": "mlp", "hidden": []},
    )
    bridge = prepare(settings, None).server.blueprint.build()
    shape = bridge.shapes["fc1"]
    a, b = torch.randn(2, shape.d_in), torch.randn(shape.d_out, 2)
    x = torch.rand(5, 1, 8, 8)
    bridge.load({}, extras := prepare(settings, None).server.extras)
    without = bridge.model(x)
    bridge.load({"fc1": Factors(a, b, prefix(2))}, extras)
    at_the_server_s = 3 / 6**0.5 * x.flatten(1) @ (b @ a).T
    torch.testing.assert_close(bridge.model(x) - without, at_the_server_s, rtol=1e-4, atol=1e-4)
    assert bridge.layers["fc1"].scaling["default"] == pytest.approx(3 / 2**0.5)
    torch.testing.assert_close(bridge.read()[0]["fc1"].b, b)


def test_a_module_may_have_a_scaling_of_its_own():
    modules = {"fc2": {"scaling": {"alpha": 3.0, "per": "rank"}}}
    settings = small(adapter={"scaling": 0.7, "modules": modules})
    bridge = prepare(settings, None).server.blueprint.build()
    assert bridge.scaling["fc1"].training(2) == 0.7
    assert bridge.scaling["fc2"].training(2) == 1.5


def test_ranks_by_hand_keep_the_smallest_rank_of_a_module(tmp_path):
    settings = small(
        allocator={"kind": "ratio", "ratios": [0.2, 0.4, 0.6, 0.8]},
        ranks={"r_max": 5, "modules": {"fc2": {"r_min": 3, "r_max": 4}}},
        rounds=1,
    )
    folder = polyrank.run(settings, out=tmp_path / "run").folder
    given = {
        x["client"]: x["ranks"] for x in lines_in(folder, "clients") if x["event"] == "profile"
    }
    assert given["0"] == {"fc1": 1, "fc2": 3}
    assert given["3"] == {"fc1": 4, "fc2": 3}


def test_an_unknown_module_is_named():
    settings = small(adapter={"modules": {"fc9": {"scaling": 2.0}}})
    with pytest.raises(SettingsError, match=r"adapter\.modules: 'fc9' is not adapted.*fc1, fc2"):
        prepare(settings, None)


def test_a_given_adapter_is_taken_at_the_server_s_scaling(tmp_path):
    """What is exported at alpha / r is the same function at the start of the next run."""
    changes = {"adapter": BY_RANK, "rounds": 1, **PLAIN}
    first = polyrank.run(small(**changes), out=tmp_path / "first").folder
    export(first, tmp_path / "out")
    given = {"base": str(tmp_path / "out" / "base.safetensors")}
    started = small(**changes, **given, init_adapter=str(tmp_path / "out"))
    second = polyrank.run(started, out=tmp_path / "second").folder
    before, after = (lines_in(folder, "rounds") for folder in (first, second))
    assert after[0]["test"]["loss"] == pytest.approx(before[-1]["test"]["loss"], rel=1e-5)
