"""The real pre-trained model all-MiniLM-L6-v2, offline."""

import json
from pathlib import Path

import pytest
import torch

import polyrank
from polyrank.errors import SettingsError
from polyrank.learning.adapting import trained_parts, wrap
from polyrank.lora.alignment import all_aligned
from polyrank.models import MODELS
from polyrank.models.weights import put_weights, read_weights
from polyrank.peft_bridge import find_extras
from polyrank.peft_bridge.padding import PaddedA
from polyrank.protocol.messages import Counted, ExamineTask, Update
from polyrank.registry import Named
from polyrank.runs.preparation import prepare
from tests.small import small
from tests.texts import first_task, model_path, needs_demo, text_settings
from tests.written import lines_in

pytestmark = needs_demo
WORDS = {"input_ids": torch.tensor([[101, 2026, 4003, 102], [101, 9231, 102, 0]])}
WORDS["attention_mask"] = (WORDS["input_ids"] != 0).long()


@pytest.fixture(scope="module")
def options():
    return {"name": model_path()}


@pytest.fixture(scope="module")
def model(options):
    return MODELS.build(Named("hf", options)).model((), 3, seed=1).eval()


def logits(model):
    with torch.no_grad():
        return model(**WORDS).logits


def test_the_model_is_that_of_transformers_with_a_seeded_head(options, model):
    from transformers import AutoModel

    plain = AutoModel.from_pretrained(model_path())
    ours = dict(model.bert.named_parameters())
    assert all(torch.equal(p, ours[n]) for n, p in plain.named_parameters())
    assert model.classifier.weight.shape == (3, 384)
    same, other = (MODELS.build(Named("hf", options)).model((), 3, seed=s) for s in (1, 2))
    assert torch.equal(same.classifier.weight, model.classifier.weight)
    assert not torch.equal(other.classifier.weight, model.classifier.weight)


def test_a_shell_with_the_weights_put_in_is_the_model(options, model):
    shell = MODELS.build(Named("hf", options)).shell((), 3)
    assert {p.device.type for p in shell.parameters()} == {"meta"}
    weights = all_aligned(read_weights(model))  # in a mapped file they lie anywhere
    put_weights(shell, weights)
    assert torch.equal(logits(shell.eval()), logits(model))
    storage = {n: p.data_ptr() for n, p in shell.named_parameters()}
    assert all(storage[n] == t.data_ptr() for n, t in weights.items())


def test_by_default_the_head_is_trained_and_no_bias_or_norm(tmp_path, model):
    parts = trained_parts(text_settings(tmp_path), model)
    assert len(parts.shapes) == 12
    assert {n.rpartition(".")[2] for n in parts.shapes} == {"query", "value"}
    found = find_extras(model, parts.shapes, parts.extras)
    assert set(found) == {"classifier.weight", "classifier.bias"}


@pytest.mark.parametrize("targets", ["all", "all-linear"])
@pytest.mark.parametrize("extras", ["auto", "none"])
def test_all_linear_leaves_the_head_out(tmp_path, model, targets, extras):
    settings = text_settings(tmp_path, adapter={"targets": targets, "extras": extras})
    parts = trained_parts(settings, model)
    assert len(parts.shapes) == 6 * 6 + 1
    assert "bert.pooler.dense" in parts.shapes
    assert "classifier" not in parts.shapes


def test_modules_named_in_extras_are_trained_in_full(tmp_path, model):
    adapter = {"targets": "all-linear", "extras": ["classifier", "pooler"]}
    parts = trained_parts(text_settings(tmp_path, adapter=adapter), model)
    assert "bert.pooler.dense" not in parts.shapes
    assert set(find_extras(model, parts.shapes, parts.extras)) == {
        "classifier.weight",
        "classifier.bias",
        "bert.pooler.dense.weight",
        "bert.pooler.dense.bias",
    }


def test_the_wrapped_model_without_slots_is_the_model(tmp_path, options, model):
    expected = logits(model)
    shell = MODELS.build(Named("hf", options)).shell((), 3)
    put_weights(shell, read_weights(model))
    bridge = wrap(text_settings(tmp_path), shell)
    extras = find_extras(model, bridge.shapes, ["classifier"])
    bridge.load({}, extras)
    assert torch.equal(logits(bridge.model.eval()), expected)
    assert len(bridge.trainable()) == 2


def test_the_base_is_in_memory_once(tmp_path):
    ready = prepare(text_settings(tmp_path), None)
    trainer = ready.crew.performer().trainer
    name = "bert.embeddings.word_embeddings.weight"
    inside = trainer.model.bridge.model.get_parameter(name)
    assert inside.data_ptr() == ready.server.blueprint.base[name].data_ptr()


def test_half_precision_keeps_the_head_and_the_adapter_in_float32(tmp_path):
    settings = text_settings(tmp_path, model={"kind": "hf", "name": model_path(), "dtype": "bf16"})
    prepared = prepare(settings, None)
    kinds = {n.partition(".")[0]: t.dtype for n, t in prepared.server.blueprint.base.items()}
    assert kinds == {"bert": torch.bfloat16, "classifier": torch.float32}
    result = polyrank.run(settings, out=tmp_path / "run")
    (update, *_) = [r for r in lines_in(result.folder, "clients") if "loss" in r]
    assert update["loss"] < 2


def test_a_run_says_how_many_texts_were_cut_and_two_workers_give_the_same_bits(tmp_path):
    model = {"kind": "hf", "name": model_path(), "max_length": 8}
    one = polyrank.run(text_settings(tmp_path, model=model), out=tmp_path / "one")
    polyrank.run(text_settings(tmp_path, model=model, workers=2), out=tmp_path / "two")
    cut = one.summary["texts"]
    assert (cut["texts"], cut["max_length"]) == (36, 8)
    assert 0 < cut["cut"] < 36
    for name in ("rounds.jsonl", "clients.jsonl", "summary.json"):
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()
    assert json.loads((tmp_path / "one" / "summary.json").read_text())["texts"] == cut


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"name": "no/such/folder"}, "no/such/folder"),
        ({"max_length": 513}, "expected 2 to 512 tokens"),
        ({"classes": 3}, "comes from the data"),
        ({"dtype": "int8"}, "dtype = 'int8'"),
        ({"max_length": "many"}, "max_length = 'many'"),
        ({"task": "translation"}, "task = 'translation'"),
    ],
)
def test_what_does_not_fit_is_named(tmp_path, options, given, said):
    settings = text_settings(tmp_path, model={"kind": "hf", **options, **given})
    with pytest.raises(SettingsError, match=said):
        prepare(settings, None)


def test_two_kinds_of_half_precision_do_not_mix(tmp_path):
    model = {"kind": "hf", "name": model_path(), "dtype": "fp16"}
    with pytest.raises(SettingsError, match=r"autocast = 'bf16' with weights in fp16"):
        prepare(text_settings(tmp_path, model=model, training={"autocast": "bf16"}), None)


@pytest.mark.parametrize(
    ("dtype", "autocast", "attention", "padded"),
    [
        ("fp32", "none", "sdpa", False),
        ("fp32", "bf16", "eager", True),
        ("bf16", "none", "eager", False),
    ],
)
def test_what_is_slow_in_half_precision_on_a_cpu_is_done_another_way(
    tmp_path, dtype, autocast, attention, padded
):
    """The fused attention, and products of many different ranks."""
    model = {"kind": "hf", "name": model_path(), "dtype": dtype, "max_length": 16}
    settings = text_settings(tmp_path, model=model, training={"autocast": autocast})
    bridge = prepare(settings, None).server.blueprint.build()
    assert bridge.model.config._attn_implementation == attention
    for layer in bridge.layers.values():
        assert isinstance(layer.lora_A["default"], PaddedA) == padded


@pytest.mark.parametrize("dtype", ["fp32", "bf16"])
def test_all_that_saves_memory_works_together(tmp_path, dtype):
    """Norms trained in full, batches in parts, mixed precision, checkpointing."""
    settings = text_settings(
        tmp_path,
        model={"kind": "hf", "name": model_path(), "dtype": dtype, "max_length": 16},
        adapter={"targets": "all-linear", "extras": ["classifier", "LayerNorm"]},
        training={
            "epochs": 1,
            "batch_size": 8,
            "learning_rate": 0.005,
            "autocast": "bf16",
            "accumulate": 2,
            "checkpointing": True,
            "local_loss": "calibrated",
        },
    )
    summary = polyrank.run(settings, out=tmp_path / "run").summary
    assert (summary["failed"], summary["refused"]) == (0, 0)
    assert 0 < summary["loss"]["final"] < 3


def test_a_name_is_needed(tmp_path):
    with pytest.raises(SettingsError, match="option 'name' is required"):
        prepare(text_settings(tmp_path, model="hf"), None)


def trained_once(folder, **training):
    settings = text_settings(
        folder, training={"epochs": 1, "batch_size": 8, "learning_rate": 0.005, **training}
    )
    ready = prepare(settings, None)
    performer, task = ready.crew.performer(), first_task(ready)
    answer = performer.perform(task)
    assert isinstance(answer, Update), answer
    counted = performer.perform(ExamineTask(task.id, "test", task.download, 0, 4))
    assert isinstance(counted, Counted), counted
    return answer


def test_checkpointing_changes_memory_and_not_the_update(tmp_path, monkeypatch):
    """Dropout included: what is computed again draws the same numbers."""
    plain = trained_once(tmp_path)
    called = []
    again = torch.utils.checkpoint.checkpoint
    monkeypatch.setattr(
        "torch.utils.checkpoint.checkpoint", lambda *a, **k: called.append(1) or again(*a, **k)
    )
    monkeypatch.setattr("transformers.modeling_utils.checkpoint", torch.utils.checkpoint.checkpoint)
    checkpointed = trained_once(tmp_path, checkpointing=True)
    assert len(called) == 6 * plain.steps
    for name, factors in plain.adapter.items():
        torch.testing.assert_close(checkpointed.adapter[name].b, factors.b)
    torch.testing.assert_close(checkpointed.extras, plain.extras)


def test_a_model_that_cannot_checkpoint_says_so():
    with pytest.raises(SettingsError, match=r"training\.checkpointing.*'mlp'"):
        prepare(small(training={"checkpointing": True}), None)


def test_the_head_moves_faster_with_a_rate_of_its_own(tmp_path):
    """Adam's first step is the rate times the gradient's sign, wherever the gradient is not 0."""
    slow, fast = (trained_once(tmp_path, steps=1, head_learning_rate=r) for r in (0.001, 0.01))
    steps = [fast.extras[n] - slow.extras[n] for n in fast.extras]
    moved = torch.cat([step.flatten().abs() for step in steps])
    assert float(moved.median()) == pytest.approx(0.009, rel=0.01)
    for name, factors in slow.adapter.items():
        assert torch.equal(fast.adapter[name].b, factors.b)


def test_no_code_of_a_model_s_folder_is_imported_and_no_pickle_read(tmp_path):
    marker = tmp_path / "marker"
    evil = f"from pathlib import Path\nPath({str(marker)!r}).touch()\n"
    (tmp_path / "evil.py").write_text(evil)
    names = {"AutoConfig": "evil.Config", "AutoModelForSequenceClassification": "evil.Model"}
    own = {"model_type": "evil", "auto_map": names}
    (tmp_path / "config.json").write_text(json.dumps(own))
    with pytest.raises(SettingsError, match="trust_remote_code"):
        MODELS.build(Named("hf", {"name": str(tmp_path)})).model((), 3, seed=0)
    with pytest.raises(SettingsError, match="trust_remote_code"):
        MODELS.build(Named("hf", {"name": str(tmp_path)})).shell((), 3)
    assert not marker.exists()
    plain = json.loads((Path(model_path()) / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(plain))
    (tmp_path / "pytorch_model.bin").write_bytes(b"pickle")
    with pytest.raises(SettingsError, match="safetensors"):
        MODELS.build(Named("hf", {"name": str(tmp_path)})).model((), 3, seed=0)
