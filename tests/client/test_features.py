"""What clients send of their features, and the head that a run makes of it."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import polyrank
from polyrank.client.features import feature_sums
from polyrank.errors import PolyRankError, SettingsError
from polyrank.head_inits import HEAD_INITS
from polyrank.head_inits.feature_sums import head_of, packed, unpacked
from polyrank.head_inits.head_init import FeatureSums
from polyrank.inputs.arrays import Examples
from polyrank.inputs.tokens import TokenExamples
from polyrank.peft_bridge import read_adapter
from polyrank.runs.export import export
from polyrank.runs.preparation import prepare
from polyrank.settings.schema import Settings
from tests.small import small
from tests.texts import needs_demo, text_settings
from tests.whole_runs import contents

HEAD = {"adapter": {"targets": ["fc1"], "extras": ["fc2"]}}  # d = 16 features
METHODS = pytest.mark.parametrize("name", [n for n in HEAD_INITS if n not in ("auto", "none")])


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_sums_are_those_of_the_inputs_of_the_layer():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(3, 5), nn.Dropout(0.5), nn.Tanh(), nn.Linear(5, 4))
    inputs, labels = torch.randn(20, 3), torch.arange(20) % 3  # of label 3 there are none
    rows = torch.tensor([0, 3, 4, 7, 10, 19])
    sent = feature_sums(model, "3", Examples(inputs, labels), rows, 4, products=True)
    features = model.eval()[:3](inputs[rows]).detach().double()
    assert sent["counts"].tolist() == [2, 4, 0, 0]
    expected = torch.stack([features[labels[rows] == c].sum(0) for c in (0, 1)])
    torch.testing.assert_close(sent["sums"], expected)
    assert sent["products"].shape == (15,)
    again = unpacked(sent)
    torch.testing.assert_close(again.products, features.T @ features)
    assert again.sums[2:].abs().sum() == 0
    assert all(torch.equal(sent[n], t) for n, t in packed(again).items())
    assert set(feature_sums(model, "3", Examples(inputs, labels), rows, 4, products=False)) == {
        "counts",
        "sums",
    }
    assert not model[3]._forward_pre_hooks


def test_of_a_vector_for_each_token_the_last_one_counts():
    from transformers import LlamaConfig, LlamaForSequenceClassification

    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=20,
        hidden_size=8,
        intermediate_size=8,
        num_hidden_layers=1,
        num_attention_heads=2,
        num_labels=3,
        pad_token_id=0,
    )
    model = LlamaForSequenceClassification(config).eval()
    texts = [[3, 4, 5], [6], [7, 8, 9, 10, 11], [12, 13]]
    examples = TokenExamples.from_lists(texts, np.array([0, 1, 2, 1]), 0)
    sent = feature_sums(model, "score", examples, torch.arange(4), 3, products=False)
    with torch.no_grad():
        alone = [model(torch.tensor([t])).logits[0] for t in texts]
    by_label = torch.stack([alone[0], alone[1] + alone[3], alone[2]]).double()
    logits = sent["sums"] @ model.score.weight.T.double()
    torch.testing.assert_close(logits, by_label, rtol=1e-4, atol=1e-6)


def test_the_head_is_the_last_layer_that_has_a_logit_for_each_label():
    extras = {
        "head.dense.weight": torch.zeros(8, 8),
        "head.out.weight": torch.zeros(3, 8),
        "head.out.bias": torch.zeros(3),
    }
    assert head_of(extras, 3, "lda") == "head.out"
    with pytest.raises(SettingsError, match=r"for 4 labels .* got the extras .*head\.out\.bias"):
        head_of(extras, 4, "lda")


@METHODS
def test_a_run_starts_from_a_good_head_and_counts_what_it_cost(tmp_path, name):
    settings = small(rounds=1, allocator="uniform", head_init=name, **HEAD)
    polyrank.run(settings, out=tmp_path / "run")
    plain = small(rounds=1, allocator="uniform", **HEAD)
    polyrank.run(plain, out=tmp_path / "plain")
    start, drawn = (lines(tmp_path / run / "rounds.jsonl")[0] for run in ("run", "plain"))
    assert start["test"]["accuracy"] > drawn["test"]["accuracy"] + 0.3
    profiles = lines(tmp_path / "run" / "clients.jsonl")[:4]
    labels = sum(np.count_nonzero(p["label_counts"]) for p in profiles)
    products = 4 * 16 * 17 // 2 if name == "lda" else 0
    assert start["bytes"]["up"] == 8 * (4 * 10 + labels * 16 + products)
    assert start["bytes"]["down"] == 4 * 4 * (10 * 16 + 10)  # the extras: no factors are needed
    assert drawn["bytes"] == {"up": 0, "down": 0}
    before = [
        np.mean([x["before"]["accuracy"] for x in lines(tmp_path / run / "clients.jsonl")[-4:]])
        for run in ("run", "plain")
    ]
    assert before[0] > before[1] + 0.2


def accuracy_at_once(settings: Settings, adapter: Tensor | float = 0.0) -> float:
    """Solve for the head with all rows together, and count right answers on the test rows."""
    prepared = prepare(settings, None)
    base = prepared.server.blueprint.base

    def features(examples, rows):
        inputs, labels = examples.batch(rows)
        hidden = inputs.flatten(1) @ (base["fc1.weight"] + adapter).T + base["fc1.bias"]
        return hidden.relu().double(), labels

    rows = torch.cat([site.train.numbers for site in prepared.sites.values()])
    x, labels = features(prepared.server.rows["validation"].examples, rows)
    one_hot = torch.eye(10, dtype=torch.float64)[labels]
    sums = FeatureSums(one_hot.sum(0), one_hot.T @ x, x.T @ x)
    weight, bias = HEAD_INITS.build("lda").solve(sums)
    test = prepared.server.rows["test"].examples
    x, labels = features(test, torch.arange(len(test)))
    return float(((x @ weight.T + bias).argmax(1) == labels).double().mean())


def test_the_head_of_a_run_is_that_of_all_its_rows_at_once(tmp_path):
    settings = small(rounds=1, allocator="uniform", head_init="lda", workers=2, **HEAD)
    polyrank.run(settings, out=tmp_path / "run")
    start = lines(tmp_path / "run" / "rounds.jsonl")[0]["test"]
    assert start["accuracy"] == pytest.approx(accuracy_at_once(settings), abs=0.003)


def test_the_start_s_own_factors_count_for_the_features(tmp_path):
    polyrank.run(small(rounds=8, **HEAD), out=tmp_path / "first")
    export(tmp_path / "first", tmp_path / "out")
    given = {"base": str(tmp_path / "out" / "base.safetensors")}
    settings = small(rounds=1, head_init="lda", **given, **HEAD)
    started = settings.model_copy(update={"init_adapter": str(tmp_path / "out")})
    polyrank.run(started, out=tmp_path / "run")
    factors = read_adapter(tmp_path / "out", {})["fc1"]
    start = lines(tmp_path / "run" / "rounds.jsonl")[0]["test"]
    expected = accuracy_at_once(settings, factors.b @ factors.a)
    assert start["accuracy"] == pytest.approx(expected, abs=0.003)
    assert abs(expected - accuracy_at_once(settings)) > 0.01


def test_resumed_runs_have_the_head_that_they_began_with(tmp_path):
    settings = small(rounds=3, head_init="lda", **HEAD)
    polyrank.run(settings, out=tmp_path / "whole")
    polyrank.run(settings.model_copy(update={"rounds": 1}), out=tmp_path / "cut")
    polyrank.resume(tmp_path / "cut", overrides=["rounds=3"], trust=True)
    assert contents(tmp_path / "cut") == contents(tmp_path / "whole")


def test_a_model_without_such_a_layer_is_an_error_before_anything_is_trained(tmp_path):
    with pytest.raises(SettingsError, match="head_init = 'lda': expected a last linear layer"):
        polyrank.run(small(head_init="lda"), out=tmp_path / "run")


def test_counts_with_noise_and_true_ones_exclude_each_other():
    with pytest.raises(PolyRankError, match=r"head_init = 'class_means' sends .* probe\.epsilon"):
        small(head_init="class_means", probe={"epsilon": 1.0}, **HEAD)


@needs_demo
@METHODS
def test_questions_are_told_apart_without_any_training(tmp_path, name):
    settings = text_settings(tmp_path, head_init=name, allocator="uniform")
    polyrank.run(settings, out=tmp_path / "run")
    start = lines(tmp_path / "run" / "rounds.jsonl")[0]
    assert start["test"]["accuracy"] > 0.7
