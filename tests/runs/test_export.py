import json
import os
from itertools import product
from pathlib import Path

import pytest
import torch
from peft import PeftModel
from safetensors.torch import save_file

import polyrank
from polyrank.errors import AdapterError, RunFolderError
from polyrank.models import MODELS
from polyrank.record.run_folder import RunFolder
from polyrank.registry import Named
from polyrank.runs.export import export
from polyrank.runs.exported_base import load_base
from polyrank.runs.preparation import prepare
from polyrank.runs.trained_model import read_trained
from tests.processes import exit_code
from tests.small import small
from tests.written import lines_in

pytestmark = pytest.mark.filterwarnings("ignore:Could not find a config file")
X = torch.rand(20, 1, 8, 8, generator=torch.Generator().manual_seed(0))


@pytest.fixture(scope="module", params=["mlp", "cnn", "mlp svd", "cnn svd"])
def run(request, tmp_path_factory):
    kind, _, form = request.param.partition(" ")
    adapter = {"scaling": 0.7, "parametrisation": form or "lora"}
    model = {"mlp": {"kind": "mlp", "hidden": [16]}, "cnn": {"kind": "cnn", "widths": [4, 6]}}
    settings = small(model=model[kind], adapter=adapter, rounds=2)
    return polyrank.run(settings, out=tmp_path_factory.mktemp("export") / "run").folder


def logits_of_the_run(run, client):
    with torch.no_grad():
        return read_trained(run, client).bridge().model(X)


@pytest.mark.parametrize("client", [None, "1"])
def test_peft_loads_the_export_with_the_same_logits(run, tmp_path, client):
    expected = logits_of_the_run(run, client)
    export(run, tmp_path / "out", client=client)
    loaded = PeftModel.from_pretrained(load_base(tmp_path / "out"), tmp_path / "out").eval()
    with torch.no_grad():
        largest = float((loaded(X) - expected).abs().max())
    assert largest <= 1e-5 * max(1.0, float(expected.abs().max()))


@pytest.mark.parametrize("client", [None, "1"])
def test_merged_gives_the_same_logits_without_peft(run, tmp_path, client):
    expected = logits_of_the_run(run, client)
    export(run, tmp_path / "out", client=client, merge=True)
    model = load_base(tmp_path / "out")
    assert not [n for n, _ in model.named_parameters() if "lora" in n]
    with torch.no_grad():
        largest = float((model(X) - expected).abs().max())
    assert largest <= 1e-4 * max(1.0, float(expected.abs().max()))


def test_padded_to_one_rank_the_logits_stay_the_same(run, tmp_path):
    expected = logits_of_the_run(run, None)
    export(run, tmp_path / "out", pad_rank=16)
    config = json.loads((tmp_path / "out" / "adapter_config.json").read_text())
    assert (config["r"], config["rank_pattern"], config["alpha_pattern"]) == (16, {}, {})
    loaded = PeftModel.from_pretrained(load_base(tmp_path / "out"), tmp_path / "out").eval()
    with torch.no_grad():
        torch.testing.assert_close(loaded(X), expected, rtol=1e-4, atol=1e-5)
    with pytest.raises(AdapterError, match="padded rank of 2"):
        export(run, tmp_path / "small", pad_rank=2)
    assert not list(tmp_path.glob("*small*"))


@pytest.mark.parametrize("umask", [0o022, 0o027])
def test_every_file_has_the_mode_that_the_umask_gives(run, tmp_path, umask):
    before = os.umask(umask)
    try:
        export(run, tmp_path / "out")
    finally:
        os.umask(before)
    modes = {p.name: p.stat().st_mode & 0o777 for p in (tmp_path / "out").iterdir()}
    assert "adapter_model.safetensors" in modes
    assert set(modes.values()) == {0o666 & ~umask}


def test_the_current_folder_is_a_place_like_any_other(run, tmp_path, monkeypatch):
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    export(run, Path())
    assert {"adapter_config.json", "base.json"} <= {p.name for p in Path().iterdir()}
    assert [p.name for p in tmp_path.iterdir()] == ["here"]


def test_the_card_tells_how_it_was_trained_and_how_good_it_is(run, tmp_path):
    export(run, tmp_path / "mine", client="1")
    card = (tmp_path / "mine" / "README.md").read_text()
    summary = json.loads((run / "summary.json").read_text())
    assert "of client `1`" in card
    assert f"| accuracy | {summary['accuracy']['final']:.4f} |" in card
    lines = map(json.loads, (run / "clients.jsonl").read_text().splitlines())
    own = next(x for x in lines if x["event"] == "final" and x["client"] == "1")
    assert f"| this model | {own['personal']['accuracy']:.4f} |" in card
    assert f"| the global model | {own['global']['accuracy']:.4f} |" in card
    assert "before training" not in card
    for module, rank in summary["ranks"]["1"].items():
        assert f"| {module} | {rank} |" in card
    code = card.split("```python\n")[1].split("```")[0].replace('"mine"', f'"{tmp_path / "mine"}"')
    names: dict[str, object] = {}
    exec(code, names)
    with torch.no_grad():
        torch.testing.assert_close(names["model"].eval()(X), logits_of_the_run(run, "1"))


def test_a_clients_own_model_is_not_the_global_one(run):
    assert not torch.allclose(logits_of_the_run(run, None), logits_of_the_run(run, "1"))


def test_a_run_started_from_an_export_starts_where_it_ended(run, tmp_path):
    """Same base and extras: the first evaluation repeats the old run's last."""
    settings = RunFolder.open(run).settings
    if settings.model.kind == "cnn":
        pytest.skip("batch-norm statistics belong to the base, which is given by base = FILE")
    export(run, tmp_path / "out")
    changed = settings.model_copy(
        update={
            "base": str(tmp_path / "out" / "base.safetensors"),
            "init_adapter": str(tmp_path / "out"),
            "rounds": 1,
        }
    )
    polyrank.run(changed, out=tmp_path / "next")
    start = lines_in(tmp_path / "next", "rounds")[0]["test"]
    ended = json.loads((run / "summary.json").read_text())
    assert start["accuracy"] == ended["accuracy"]["final"]
    assert start["loss"] == pytest.approx(ended["loss"]["final"], rel=1e-5)


def count_numbers(folder: Path, told: Path) -> None:
    """Write down how many numbers the adapter of an export holds."""
    os.chdir(told.parent)
    model = PeftModel.from_pretrained(load_base(folder), folder)
    count = sum(p.numel() for name, p in model.named_parameters() if "lora_" in name)
    told.write_text(str(count))


def test_the_export_needs_no_run_folder(run, tmp_path):
    """A process that knows only the export folder loads it."""
    export(run, tmp_path / "out")
    assert exit_code(count_numbers, tmp_path / "out", tmp_path / "told") == 0
    slots = read_trained(run, None).adapter.values()
    assert int((tmp_path / "told").read_text()) == sum(f.a.numel() + f.b.numel() for f in slots)


def test_unknown_clients_and_full_folders_are_named_errors(run, tmp_path):
    with pytest.raises(RunFolderError, match="no client '7'"):
        export(run, tmp_path / "out", client="7")
    (tmp_path / "mine").write_text("x")
    with pytest.raises(RunFolderError, match="already"):
        export(run, tmp_path)
    with pytest.raises(AdapterError, match=r"base\.json"):
        load_base(tmp_path)


METHODS = ["flora", "fedex", "florist", "anchored", "fedsa", "ffa"]
BY_ROOT = {"alpha": 2.0, "per": "sqrt_rank"}


@pytest.mark.parametrize(
    ("model", "aggregator", "scaling"),
    [
        *product(["mlp", "cnn"], METHODS, [0.7]),
        *product(["cnn"], ["flora", "anchored", "fedsa", "rbla"], [BY_ROOT]),
    ],
)
def test_what_every_method_exports_is_what_its_run_evaluated(tmp_path, aggregator, model, scaling):
    """Global and personal model, from PEFT's folder and merged, against the run's own records."""
    kinds = {"mlp": {"kind": "mlp", "hidden": [16]}, "cnn": {"kind": "cnn", "widths": [4, 6]}}
    settings = small(
        model=kinds[model],
        adapter={"scaling": scaling},
        aggregator=aggregator,
        server_optimizer="fedavgm",
        average=0.8,
        cohort_size=3,
    )
    run = polyrank.run(settings, out=tmp_path / "run").folder
    ready = prepare(settings, None)
    lines = lines_in(run, "clients")
    finals = {x["client"]: x["personal"] for x in lines if x["event"] == "final"}
    ended = json.loads((run / "summary.json").read_text())
    told = {None: (ready.server.rows["test"], ended["loss"]["final"])}
    told |= {c: (ready.sites[c].test, finals[c]["loss"]) for c in ("0", "2")}
    for client, (rows, loss) in told.items():
        inputs, labels = rows.examples.batch(rows.numbers)
        export(run, tmp_path / f"peft-{client}", client=client)
        folder = tmp_path / f"peft-{client}"
        loaded = PeftModel.from_pretrained(load_base(folder), folder).eval()
        export(run, tmp_path / f"merged-{client}", client=client, merge=True)
        for module in (loaded, load_base(tmp_path / f"merged-{client}")):
            with torch.no_grad():
                found = torch.nn.functional.cross_entropy(module(inputs), labels)
            assert float(found) == pytest.approx(loss, rel=1e-4)


@pytest.mark.parametrize("aggregator", ["flora", "fedex"])
def test_a_client_that_missed_rounds_is_exported_on_the_base_that_it_trained_on(
    tmp_path, aggregator
):
    """Two of four clients a round: each one's own model, with the base of its last round."""
    settings = small(aggregator=aggregator, rounds=4, cohort_size=2)
    run = polyrank.run(settings, out=tmp_path / "run").folder
    sites = prepare(settings, None).sites
    lines = lines_in(run, "clients")
    last = {x["client"]: x["round"] for x in lines if x["event"] == "update"}
    assert {1, 2, 3} & set(last.values()), "some client should have missed the last round"
    for line in (x for x in lines if x["event"] == "final" and x["personal"]):
        client = line["client"]
        rows = sites[client].test
        inputs, labels = rows.examples.batch(rows.numbers)
        export(run, tmp_path / client, client=client, merge=True)
        with torch.no_grad():
            found = torch.nn.functional.cross_entropy(load_base(tmp_path / client)(inputs), labels)
        assert float(found) == pytest.approx(line["personal"]["loss"], rel=1e-4)


@pytest.fixture
def told(tmp_path):
    """Return a function that writes a base.json and loads it."""

    def load(**changes):
        document = {
            "model": {"kind": "mlp", "hidden": [4]},
            "input_shape": [6],
            "classes": 3,
            "weights": "base.safetensors",
        }
        if not (tmp_path / "base.safetensors").exists():
            weights = MODELS.build(Named("mlp", {"hidden": [4]})).model((6,), 3, 0).state_dict()
            save_file(weights, tmp_path / "base.safetensors")
        (tmp_path / "base.json").write_text(json.dumps({**document, **changes}))
        return load_base(tmp_path)

    return load


def test_a_base_of_a_built_in_kind_is_loaded(told):
    assert told()(torch.zeros(1, 6)).shape == (1, 3)


def test_no_code_that_base_json_names_is_imported_or_called(told, tmp_path):
    marker = tmp_path / "marker"
    evil = {"kind": "subprocess:Popen", "args": ["touch", str(marker)]}
    with pytest.raises(AdapterError, match=r"'subprocess:Popen'.*trust=True"):
        told(model=evil)
    assert not marker.exists()


def my_model(*, input_shape, classes):
    return torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(6, classes))


def test_a_model_of_one_s_own_is_loaded_when_trusted(told, tmp_path):
    save_file(
        {"1.weight": torch.ones(3, 6), "1.bias": torch.zeros(3)}, tmp_path / "base.safetensors"
    )
    with pytest.raises(AdapterError, match=r"tests.runs.test_export:my_model"):
        told(model={"kind": "tests.runs.test_export:my_model"})
    with torch.no_grad():
        assert load_base(tmp_path, trust=True)(torch.ones(1, 6)).tolist() == [[6, 6, 6]]


@pytest.mark.parametrize("name", ["/etc", "../x", "./x", "a/../b", "a/b/c", "~/x", "a\\b", "", 3])
@pytest.mark.parametrize("weights", [None, "base.safetensors"])
def test_a_pre_trained_model_at_a_path_needs_trust(told, name, weights):
    with pytest.raises(AdapterError, match=r"at a path, .*trust=True"):
        told(model={"kind": "hf", "name": name}, weights=weights)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"model": {"kind": "mlp", "hidden": [10**9, 10**9]}}, "do not fit"),
        ({"model": {"kind": "mlp", "hidden": [10**30]}}, "cannot be built"),
        ({"model": {"kind": "mlp", "hidden": [-1]}}, "cannot be built"),
        ({"model": {"kind": "mlp", "hidden": "many"}}, "hidden"),
        ({"model": {"kind": "mlp", "widths": [3]}}, "unknown option 'widths'"),
        ({"model": {"kind": "cnn", "widths": [10**6] * 3}}, "cnn expects images"),
        ({"model": {"kind": "hf", "name": "x"}, "weights": "/etc/x.safetensors"}, "weights"),
        ({"model": ["mlp"]}, "model"),
        ({"model": {"kind": ["mlp"]}}, "model.kind"),
        ({"classes": 10**12}, "do not fit|cannot be built"),
        ({"classes": -1}, "classes"),
        ({"classes": "3"}, "classes"),
        ({"input_shape": [10**9, 10**9, 10**9]}, "cannot be built|do not fit"),
        ({"input_shape": [1] * 10_000}, "input_shape"),
        ({"weights": "../base.safetensors"}, "weights"),
        ({"weights": None}, "expected the weights"),
    ],
)
def test_what_base_json_may_not_hold_is_named_and_costs_no_memory(told, changes, said):
    with pytest.raises(AdapterError, match=said):
        told(**changes)


@pytest.mark.parametrize("text", ["", "[]", "[" * 100_000, "{" + " " * 70_000 + "}", "\xff"])
def test_a_base_json_that_is_none_is_a_named_error(tmp_path, text):
    (tmp_path / "base.json").write_bytes(text.encode("latin-1"))
    with pytest.raises(AdapterError, match=r"base\.json"):
        load_base(tmp_path)


def test_a_base_json_that_never_ends_is_not_read(tmp_path):
    (tmp_path / "base.json").symlink_to("/dev/zero")
    with pytest.raises(AdapterError, match="found none"):
        load_base(tmp_path)


@pytest.mark.parametrize(
    "content", [b"", b"x" * 100, (2**40).to_bytes(8, "little") + b"{}", b"\x80\x02pickle"]
)
def test_weights_that_are_no_safetensors_are_a_named_error(told, tmp_path, content):
    (tmp_path / "base.safetensors").write_bytes(content)
    with pytest.raises(AdapterError):
        told()


@pytest.mark.parametrize(
    ("config", "said"),
    [
        ({"peft_type": "LORA", "megatron_config": {"a": 1}, "megatron_core": "evil"}, "Megatron"),
        ({"peft_type": "XLORA", "adapters": {"0": "/x"}}, "plain LoRA"),
        ({"peft_type": "LORA"}, "adapter's safetensors"),  # PEFT would take adapter_model.bin
    ],
)
def test_an_adapter_beside_the_base_that_peft_would_trust_is_refused(told, tmp_path, config, said):
    (tmp_path / "adapter_config.json").write_text(json.dumps(config))
    (tmp_path / "adapter_model.bin").write_bytes(b"pickle")
    with pytest.raises(AdapterError, match=said):
        told()
