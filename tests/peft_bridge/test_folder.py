import json

import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from safetensors.torch import load_file, save_file
from torch import nn

from polyrank.errors import AdapterError
from polyrank.lora.factors import Factors, new_factors, prefix, start_factors
from polyrank.models.mlp import mlp
from polyrank.peft_bridge import (
    check_adapter_folder,
    place_adapter,
    read_adapter,
    write_adapter,
)

pytestmark = pytest.mark.filterwarnings("ignore:Could not find a config file")


def base() -> nn.Module:
    torch.manual_seed(0)
    return mlp(input_shape=(6,), classes=3, hidden=(5, 4))


def trained_by_peft(folder, **options) -> PeftModel:
    config = LoraConfig(target_modules=["fc1", "fc2"], init_lora_weights=False, **options)
    model = get_peft_model(base(), config)
    model.save_pretrained(folder)
    return model.eval()


def logits_with(adapter: dict[str, Factors], scaling: float, x: torch.Tensor) -> torch.Tensor:
    model = base()
    with torch.no_grad():
        for name, f in adapter.items():
            model.get_submodule(name).weight += scaling * f.b @ f.a
        return model(x)


@pytest.mark.parametrize(
    "options",
    [
        {"r": 4, "lora_alpha": 12},
        {"r": 3, "lora_alpha": 6, "rank_pattern": {"fc2": 2}, "alpha_pattern": {"fc2": 10}},
        {"r": 4, "lora_alpha": 12, "rank_pattern": {"fc2": 2}, "use_rslora": True},
    ],
    ids=["plain", "patterns", "rsLoRA"],
)
def test_an_adapter_trained_by_peft_gives_the_same_logits_in_our_scaling(tmp_path, options):
    model = trained_by_peft(tmp_path, **options)
    x = torch.randn(7, 6)
    ours = logits_with(read_adapter(tmp_path, dict.fromkeys(["fc1", "fc2"], 0.5)), 0.5, x)
    torch.testing.assert_close(ours, model(x), rtol=1e-4, atol=1e-5)


def test_slots_are_read_largest_first(tmp_path):
    trained_by_peft(tmp_path, r=4)
    f = read_adapter(tmp_path, {})["fc1"]
    sizes = (f.a.norm(dim=1) * f.b.norm(dim=0)).tolist()
    assert sizes == sorted(sizes, reverse=True)


def test_different_ranks_and_a_missing_module_survive_the_way_through_peft(tmp_path):
    generator = torch.Generator().manual_seed(0)
    adapter = {
        name: Factors(f.a, torch.randn(f.b.shape, generator=generator), f.slots)
        for name, f in {
            "fc1": new_factors(2, 6, 5, generator),
            "fc2": new_factors(0, 5, 4, generator),
            "fc3": new_factors(7, 4, 3, generator),
        }.items()
    }
    write_adapter(tmp_path, base(), adapter, dict.fromkeys(adapter, 0.7))
    loaded = PeftModel.from_pretrained(base(), tmp_path).eval()
    x = torch.randn(7, 6)
    kept = {name: f for name, f in adapter.items() if f.rank}
    torch.testing.assert_close(loaded(x), logits_with(kept, 0.7, x), rtol=1e-4, atol=1e-5)


def test_only_the_named_modules_are_written_where_names_end_alike(tmp_path):
    model = nn.Sequential()
    model.add_module("fc", nn.Linear(4, 4))
    model.add_module("block", nn.Sequential())
    model.block.add_module("fc", nn.Linear(4, 4))
    write_adapter(tmp_path, model, {"fc": new_factors(2, 4, 4, torch.Generator())}, {"fc": 1.0})
    names = load_file(tmp_path / "adapter_model.safetensors")
    assert not [n for n in names if "block" in n]


def test_modules_whose_names_end_alike_keep_their_own_ranks(tmp_path):
    """PEFT takes a key for every module whose name ends with it."""
    model = nn.Sequential()
    model.add_module("fc", nn.Linear(4, 4))
    model.add_module("block", nn.Sequential())
    model.block.add_module("fc", nn.Linear(4, 4))
    generator = torch.Generator().manual_seed(0)
    ranks = {"fc": 2, "block.fc": 3}
    adapter = {n: new_factors(r, 4, 4, generator) for n, r in ranks.items()}
    write_adapter(tmp_path, model, adapter, dict.fromkeys(ranks, 1.0))
    assert {n: f.rank for n, f in read_adapter(tmp_path, {}).items()} == ranks


def test_dora_is_a_named_error(tmp_path):
    trained_by_peft(tmp_path, r=2, use_dora=True)
    with pytest.raises(AdapterError, match="DoRA"):
        read_adapter(tmp_path, {})


ENDLESS = "((a|aa)+)+", "(a|a)" * 40, ".*" * 40, "a{1,9}{1,9}", "(?:f|fc)+1", "a?" * 40


@pytest.mark.parametrize("pattern", ENDLESS, ids=range(len(ENDLESS)))
@pytest.mark.parametrize("field", ["alpha_pattern", "rank_pattern"])
def test_a_pattern_that_may_search_for_ever_is_not_looked_for(tmp_path, field, pattern):
    trained_by_peft(tmp_path, r=2)
    path = tmp_path / "adapter_config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), field: {pattern: 4}}))
    with pytest.raises(AdapterError, match=rf"{field}: expected names of modules, got"):
        read_adapter(tmp_path, {})


@pytest.mark.parametrize("field", ["target_modules", "exclude_modules", "layers_pattern"])
def test_nor_do_modules_that_peft_would_look_for(tmp_path, field):
    trained_by_peft(tmp_path, r=2)
    path = tmp_path / "adapter_config.json"
    said = json.loads(path.read_text())
    if field == "layers_pattern":
        said["layers_to_transform"] = [0]
    for fine in ("fc1|fc2", r"block\.fc\-1", r"^a\(b\)\*$"):
        path.write_text(json.dumps({**said, field: fine}))
        check_adapter_folder(tmp_path)
    path.write_text(json.dumps({**said, field: "(f|fc|.)+1"}))
    with pytest.raises(AdapterError, match=rf"{field}: expected names of modules, got"):
        check_adapter_folder(tmp_path)


def test_tensors_that_would_be_left_over_are_an_error(tmp_path):
    trained_by_peft(tmp_path, r=2)
    weights = tmp_path / "adapter_model.safetensors"
    save_file({**load_file(weights), "base_model.model.fc3.bias": torch.zeros(3)}, weights)
    with pytest.raises(AdapterError, match=r"fc3\.bias"):
        read_adapter(tmp_path, {})


def test_a_folder_that_is_no_adapter_is_a_named_error(tmp_path):
    with pytest.raises(AdapterError, match=r"adapter_config\.json"):
        read_adapter(tmp_path, {})
    (tmp_path / "adapter_config.json").write_text(json.dumps({"peft_type": "LORA"}))
    (tmp_path / "adapter_model.safetensors").write_bytes(b"cut")
    with pytest.raises(AdapterError, match=r"adapter_model\.safetensors"):
        read_adapter(tmp_path, {})


def test_a_given_adapter_takes_the_first_slots_and_leaves_the_rest():
    generator = torch.Generator().manual_seed(0)
    server = {"fc1": new_factors(5, 6, 4, generator)}
    given = {"fc1": Factors(torch.ones(2, 6), torch.ones(4, 2), prefix(2))}
    placed = place_adapter(given, server)["fc1"]
    assert (placed.a[:2] == 1).all()
    assert torch.equal(placed.a[2:], server["fc1"].a[2:])
    assert not placed.b[:, 2:].any()


def test_in_svd_form_a_given_adapter_keeps_its_product():
    server = {"fc1": start_factors((6, 4), 5, 0, "fc1", parametrisation="svd")}
    generator = torch.Generator().manual_seed(0)
    a, b = torch.randn(2, 6, generator=generator), torch.randn(4, 2, generator=generator)
    placed = place_adapter({"fc1": Factors(a, b, prefix(2))}, server)["fc1"]
    folded = placed.folded()
    torch.testing.assert_close(folded.b @ folded.a, b @ a)
    rest = torch.arange(2, 5)
    kept = server["fc1"].take(rest).tensors
    assert all(torch.equal(t, kept[part]) for part, t in placed.take(rest).tensors.items())


@pytest.mark.parametrize(
    ("name", "rank", "d_in", "said"),
    [("fc9", 1, 6, "fc9"), ("fc1", 1, 7, "d_in"), ("fc1", 6, 6, "r_max 5")],
)
def test_an_adapter_that_does_not_fit_is_refused(name, rank, d_in, said):
    server = {"fc1": new_factors(5, 6, 4, torch.Generator())}
    with pytest.raises(AdapterError, match=said):
        place_adapter({name: new_factors(rank, d_in, 4, torch.Generator())}, server)
