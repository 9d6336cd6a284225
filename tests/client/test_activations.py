import numpy as np
import pytest
import torch
from peft import EvaConfig, LoraConfig
from peft.tuners.lora.eva import get_eva_state_dict
from torch import nn

from polyrank.allocators import Evidence, Limits, ModuleRange
from polyrank.allocators.eva import eva
from polyrank.client import activations
from polyrank.client.activations import activation_spectra
from polyrank.errors import DataError, SettingsError


class Net(nn.Module):
    """Three linear modules of different widths, ``fc1`` to ``fc3``."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.fc1, self.fc2, self.fc3 = nn.Linear(20, 16), nn.Linear(16, 12), nn.Linear(12, 5)

    def forward(self, x, attention_mask=None):
        return self.fc3(torch.relu(self.fc2(torch.relu(self.fc1(x)))))


def linears(model):
    return {n: m for n, m in model.named_modules() if isinstance(m, nn.Linear | nn.Conv2d)}


def inputs(rows=400, width=20, seed=0):
    """Columns of falling spread, far from 0, so that centring matters."""
    torch.manual_seed(seed)
    return torch.randn(rows, width) * torch.logspace(0, -1, width) + 3


def numpy_ratios(rows):
    """From the singular values of the centred rows, all at once."""
    rows = np.asarray(rows, np.float64)
    values = np.linalg.svd(rows - rows.mean(axis=0), compute_uv=False) ** 2
    return values / values.sum()


def test_ratios_are_those_of_numpy_s_singular_values():
    x = inputs()
    spectra = activation_spectra(nn.Sequential(layer := nn.Linear(20, 3)), {"m": layer}, [x])
    np.testing.assert_allclose(spectra["m"], numpy_ratios(x), rtol=1e-9)
    assert sum(spectra["m"]) == pytest.approx(1)


@pytest.mark.parametrize("rank", [2, 3, 4])
def test_ranks_are_those_of_peft(rank):
    """PEFT, with all rows in one batch: its decomposition then meets the same rows each time."""
    model, x = Net(), inputs()
    config = LoraConfig(
        r=rank,
        target_modules=["fc1", "fc2", "fc3"],
        init_lora_weights="eva",
        eva_config=EvaConfig(rho=2.0),
    )
    theirs = get_eva_state_dict(
        model,
        [{"x": x}],
        config,
        prepare_model_inputs_fn=None,
        prepare_layer_inputs_fn=None,
        show_progress_bar=False,
    )
    spectra = activation_spectra(model, linears(model), x.split(64))
    limits = Limits({n: ModuleRange(1, min(m.weight.shape), 1) for n, m in linears(model).items()})
    ours = eva(Evidence(["a"], {}, spectra={"a": spectra}), limits, rank=rank)
    assert {m: int(r[0]) for m, r in ours.ranks.items()} == {n: len(u) for n, u in theirs.items()}


def test_batches_and_blocks_do_not_matter(monkeypatch):
    # in float64: a product in float32 may differ in its last bit with the rows that are in it
    model, x = Net().double(), inputs().double()
    once = activation_spectra(model, linears(model), [x])
    monkeypatch.setattr(activations, "BLOCK", 200)
    parts = activation_spectra(model, linears(model), x.split(33))
    for module in once:
        np.testing.assert_allclose(parts[module], once[module], atol=1e-12)


def test_keep_cuts_the_small_ones_off():
    model, x = Net(), inputs()
    whole = activation_spectra(model, linears(model), [x])
    kept = activation_spectra(model, linears(model), [x], keep=5)
    assert kept == {module: ratios[:5] for module, ratios in whole.items()}
    assert all(ratios == sorted(ratios, reverse=True) for ratios in whole.values())


@pytest.mark.parametrize(
    "options",
    [
        {"padding": 1},
        {"padding": 2, "stride": 2, "dilation": 2},
        {"padding": "same"},
        {"padding": "valid"},
        {"padding": 1, "padding_mode": "circular"},
    ],
    ids=str,
)
def test_a_convolution_s_rows_are_what_its_weight_is_multiplied_with(options, monkeypatch):
    """Found the slow way: one convolution a weight entry, that entry 1 and the others 0."""
    layer = nn.Conv2d(2, 3, 3, bias=False, **options)
    images = torch.randn(5, 2, 6, 6, generator=torch.Generator().manual_seed(0)) + 1
    columns = []
    for at in range(layer.weight[0].numel()):
        probe = nn.Conv2d(2, 1, 3, bias=False, **options)
        with torch.no_grad():
            probe.weight.zero_().view(-1)[at] = 1
            columns.append(probe(images).flatten())
    monkeypatch.setattr(activations, "BLOCK", 1300)
    spectra = activation_spectra(nn.Sequential(layer), {"c": layer}, [images])
    np.testing.assert_allclose(
        spectra["c"], numpy_ratios(torch.stack(columns, dim=1))[:18], atol=1e-12
    )


def test_tokens_that_the_mask_leaves_out_do_not_count():
    model, x = Net(), inputs().reshape(40, 10, 20)
    mask = (torch.arange(10) < torch.arange(1, 41)[:, None]).long()
    masked = activation_spectra(model, {"fc1": model.fc1}, [{"x": x, "attention_mask": mask}])
    np.testing.assert_allclose(masked["fc1"], numpy_ratios(x[mask.bool()]), rtol=1e-9)


def test_rows_far_from_zero_keep_their_spread():
    """Spread 1 around 1e6 in float64: without centring before squaring, 4 digits would be left."""
    x = inputs().double() + 1e6
    layer = nn.Linear(20, 1).double()
    spectra = activation_spectra(layer, {"m": layer}, x.split(50))
    np.testing.assert_allclose(spectra["m"], numpy_ratios(x), rtol=1e-6)


def test_inputs_that_do_not_vary_have_ratio_0():
    """The mean of eleven times one number is not that number to the last bit."""
    layer = nn.Linear(4, 2).double()
    x = torch.full((1001, 4), 0.1).double().sqrt()
    assert activation_spectra(layer, {"m": layer}, x.split(11), keep=3) == {"m": [0.0, 0.0, 0.0]}


def test_the_model_is_left_as_it_was():
    """Mixed modes, batch norm statistics, hooks; evaluation mode while it is measured."""
    model = nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4), nn.Dropout(0.5), nn.Linear(4, 2))
    model.train()
    model[1].eval()
    before = {n: t.clone() for n, t in model.state_dict().items()}
    x = torch.randn(50, 4, generator=torch.Generator().manual_seed(0))
    first = activation_spectra(model, {"m": model[3]}, [x])
    assert activation_spectra(model, {"m": model[3]}, [x]) == first
    assert [m.training for m in model] == [True, False, True, True]
    assert all(torch.equal(t, before[n]) for n, t in model.state_dict().items())
    assert not model[3]._forward_pre_hooks


def test_what_cannot_be_measured_is_named():
    model, x = Net(), inputs()
    with pytest.raises(DataError, match="at least one batch"):
        activation_spectra(model, linears(model), [])
    with pytest.raises(DataError, match="'fc1': expected finite inputs"):
        activation_spectra(model, linears(model), [x.where(x < 5, torch.nan)])
    with pytest.raises(SettingsError, match=r"'other': .* the model did not call it"):
        activation_spectra(model, {"other": nn.Linear(2, 2)}, [x])
    with pytest.raises(SettingsError, match="'c': expected a Linear or ungrouped Conv2d"):
        activation_spectra(model, {"c": nn.Conv2d(4, 4, 1, groups=2)}, [x])
    with pytest.raises(SettingsError, match="'n': expected a Linear or ungrouped Conv2d"):
        activation_spectra(model, {"n": nn.LayerNorm(2)}, [x])
    assert not any(m._forward_pre_hooks for m in model.modules())
