"""What a run on a pre-trained model leaves: no copy of the model, and an adapter for it."""

import json
import os
import shutil
import socket
from pathlib import Path

import pytest
import torch
from peft import PeftModel
from safetensors.torch import load_file, save_file

import polyrank
from polyrank.disk.checkpoint import load_tensors
from polyrank.errors import AdapterError, DataError, RunFolderError
from polyrank.record.run_folder import RunFolder
from polyrank.runs.evaluation import evaluate
from polyrank.runs.export import export
from polyrank.runs.exported_base import load_base
from polyrank.runs.model_card import model_card
from polyrank.runs.trained_model import read_trained
from tests.commands import command
from tests.texts import model_path, needs_demo, text_settings
from tests.written import lines_in, summary_in

pytestmark = [  # PEFT asks transformers for a property under its old name
    needs_demo,
    pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated"),
]
FIRST = "bert.encoder.layer.0.attention.self.query"
WORDS = {"input_ids": torch.tensor([[101, 2026, 4003, 102], [101, 9231, 102, 0]])}
WORDS["attention_mask"] = (WORDS["input_ids"] != 0).long()


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("hf")
    settings = text_settings(
        folder,
        adapter={"targets": ["query", "value"], "scaling": 0.7},
        allocator={"kind": "ratio", "ratios": [0.5, 1.0]},
    )
    return polyrank.run(settings, out=folder / "run").folder


def logits(model):
    with torch.no_grad():
        return model.eval()(**WORDS).logits


@pytest.fixture(scope="module")
def expected(run):
    return logits(read_trained(run, None).bridge().model)


def plain_model():
    from transformers import AutoModelForSequenceClassification

    return AutoModelForSequenceClassification.from_pretrained(model_path(), num_labels=3)


def test_the_run_keeps_the_head_of_the_base_and_no_copy_of_the_model(run):
    kept, _ = load_tensors(run / "checkpoint" / "base.safetensors")
    assert set(kept) == {"classifier.weight", "classifier.bias"}
    assert len(read_trained(run, None).base) > 100


def test_peft_puts_adapter_and_head_on_the_model_that_was_adapted(run, expected, tmp_path):
    """As somebody does who has never heard of PolyRank."""
    export(run, tmp_path / "out")
    assert not (tmp_path / "out" / "base.safetensors").exists()
    loaded = PeftModel.from_pretrained(plain_model(), tmp_path / "out")
    assert loaded.peft_config["default"].base_model_name_or_path is None
    torch.testing.assert_close(logits(loaded), expected, rtol=1e-5, atol=1e-5)
    assert not torch.allclose(logits(plain_model()), expected, atol=1e-3)


@pytest.mark.parametrize("client", [None, "0"])
def test_in_svd_form_run_adapter_and_merged_model_agree(tmp_path, client):
    """An ordinary PEFT adapter, in which modules have ranks of their own."""
    settings = text_settings(
        tmp_path,
        aggregator="rbla",
        adapter={"targets": ["query", "value"], "scaling": 2.0, "parametrisation": "svd"},
        ranks={"r_min": 1, "r_max": 4, "modules": {FIRST: {"r_max": 2}}},
        allocator={"kind": "ratio", "ratios": [0.5, 1.0]},
        training={"epochs": 4, "batch_size": 8, "learning_rate": 0.02},
    )
    run = polyrank.run(settings, out=tmp_path / "run").folder
    wanted = logits(read_trained(run, client).bridge().model)
    largest = max(1.0, float(wanted.abs().max()))
    export(run, tmp_path / "out", client=client)
    loaded = PeftModel.from_pretrained(plain_model(), tmp_path / "out")
    assert loaded.peft_config["default"].rank_pattern
    assert float((logits(loaded) - wanted).abs().max()) <= 1e-5 * largest
    export(run, tmp_path / "merged", client=client, merge=True)
    merged = logits(load_base(tmp_path / "merged"))
    assert float((merged - wanted).abs().max()) <= 1e-4 * largest
    with loaded.disable_adapter():
        assert float((logits(loaded) - wanted).abs().max()) > 1e-3 * largest


def test_a_base_that_aggregation_has_changed_is_exported_with_it(tmp_path):
    """And can be loaded where the model that the run read is not."""
    (model := tmp_path / "model").symlink_to(model_path())
    about = {"kind": "hf", "name": str(model), "max_length": 16}
    settings = text_settings(tmp_path, aggregator="flora", model=about)
    run = polyrank.run(settings, out=tmp_path / "run").folder
    wanted = logits(read_trained(run, None).bridge().model)
    export(run, tmp_path / "out")
    export(run, tmp_path / "merged", merge=True)
    assert (tmp_path / "out" / "base.safetensors").exists()
    check_it_tells_nothing_of_this_machine(tmp_path / "out", tmp_path, model_path())
    model.unlink()
    loaded = PeftModel.from_pretrained(load_base(tmp_path / "out"), tmp_path / "out")
    torch.testing.assert_close(logits(loaded), wanted, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(logits(load_base(tmp_path / "merged")), wanted, rtol=1e-4, atol=1e-4)
    model.symlink_to(model_path())
    ended = summary_in(run)
    assert evaluate(run)["loss"] == pytest.approx(ended["loss"]["final"], rel=1e-4)


def test_load_base_gives_the_model_for_peft_from_where_it_is_here(run, expected, tmp_path):
    export(run, tmp_path / "out")
    with pytest.raises(AdapterError, match="from a folder 'model': expected base, that folder on"):
        load_base(tmp_path / "out")
    base = load_base(tmp_path / "out", base=model_path())
    loaded = PeftModel.from_pretrained(base, tmp_path / "out")
    torch.testing.assert_close(logits(loaded), expected, rtol=1e-5, atol=1e-5)


def of_card(folder):
    """Return what the head of a model card says, and its lines of Python."""
    card = (folder / "README.md").read_text()
    _, head, rest = card.split("---\n", 2)
    said = dict(line.split(": ", 1) for line in head.splitlines())
    return said, rest.partition("```python\n")[2].partition("\n```")[0]


def loaded_by_card(folder, monkeypatch):
    """Do what the card says, beside the folder; polyrank is not needed for it."""
    _, lines = of_card(folder)
    assert "polyrank" not in lines
    monkeypatch.chdir(folder.parent)
    names = {}
    exec(lines, names)
    return names["model"]


def test_a_published_model_needs_peft_alone_and_has_the_right_labels(
    run, expected, tmp_path, monkeypatch
):
    """With the name that a model on the hub would have; here it is a folder."""
    export(run, tmp_path / "out", licence="apache-2.0")
    (tmp_path / "somebody").mkdir()
    (tmp_path / "somebody" / "bert").symlink_to(model_path())
    path = tmp_path / "out" / "adapter_config.json"
    about = json.loads(path.read_text())
    assert about["task_type"] == "SEQ_CLS"
    path.write_text(json.dumps({**about, "base_model_name_or_path": "somebody/bert"}))
    settings = RunFolder.open(run).settings
    named = settings.model.model_copy(update={"name": "somebody/bert"})
    hub = settings.model_copy(update={"model": named})
    card = model_card(
        hub,
        {},
        1,
        client=None,
        merged=False,
        summary=None,
        folder="out",
        published=True,
        labels=("card", "exchange", "<pin>"),
        licence="apache-2.0",
    )
    (tmp_path / "out" / "README.md").write_text(card)
    head, lines = of_card(tmp_path / "out")
    assert head == {
        "library_name": "peft",
        "base_model": '"somebody/bert"',
        "base_model_relation": "adapter",
        "pipeline_tag": "text-classification",
        "license": "apache-2.0",
        "tags": "[lora, federated-learning, polyrank]",
    }
    assert lines.startswith("from peft import AutoPeftModelForSequenceClassification")
    assert "| 1 | exchange |\n| 2 | &lt;pin&gt; |" in card
    loaded = loaded_by_card(tmp_path / "out", monkeypatch)
    assert loaded.config.num_labels == 3
    torch.testing.assert_close(logits(loaded), expected, rtol=1e-5, atol=1e-5)


def test_a_model_from_a_folder_needs_that_folder_and_peft(run, expected, tmp_path, monkeypatch):
    export(run, tmp_path / "out")
    (tmp_path / "model").symlink_to(model_path())
    head, _ = of_card(tmp_path / "out")
    assert "base_model" not in head
    assert "license" not in head
    loaded = loaded_by_card(tmp_path / "out", monkeypatch)
    torch.testing.assert_close(logits(loaded), expected, rtol=1e-5, atol=1e-5)


def test_a_merged_model_needs_transformers_alone(run, expected, tmp_path, monkeypatch):
    export(run, tmp_path / "out", merge=True)
    head, lines = of_card(tmp_path / "out")
    assert head["library_name"] == "transformers"
    assert "peft" not in lines
    loaded = loaded_by_card(tmp_path / "out", monkeypatch)
    torch.testing.assert_close(logits(loaded), expected, rtol=1e-4, atol=1e-4)


def test_a_dry_run_says_what_would_be_sent_and_sends_nothing(run, tmp_path, monkeypatch):
    def asked(*_):
        raise AssertionError("the network was asked")

    for name in [name for name in os.environ if name.lower().endswith("_proxy")]:
        monkeypatch.delenv(name)  # through a proxy the hub is asked later
    monkeypatch.setattr(socket.socket, "connect", asked)
    monkeypatch.setattr(socket, "getaddrinfo", asked)
    words = f"export {run} --global --out {tmp_path / 'out'} --push-to-hub me/cards --dry-run"
    said = command(f"polyrank {words}", 0).splitlines()
    files = sorted(path.name for path in (tmp_path / "out").iterdir())
    assert said[1].startswith("would send ")
    assert said[1].endswith(" to me/cards (private if it is new):")
    assert [line.split()[0] for line in said[2:]] == files
    pushed = polyrank.push(tmp_path / "out", "me/cards", private=False, dry_run=True)
    assert sum(pushed.files.values()) == sum(p.stat().st_size for p in (tmp_path / "out").iterdir())
    assert (pushed.address, pushed.private) == (None, False)


def test_what_cannot_be_sent_is_answered_before_anything_is_written(run, tmp_path, monkeypatch):
    words = f"polyrank export {run} --global --out {tmp_path / 'out'}"
    for more in ("--push-to-hub cards", "--dry-run", "--license 'Apache 2'"):
        command(f"{words} {more}", 2)
    assert not (tmp_path / "out").exists()
    with pytest.raises(AdapterError, match="expected a folder of 'polyrank export'"):
        polyrank.push(tmp_path, "me/cards")
    export(run, tmp_path / "out")
    for name in [name for name in os.environ if name.lower().endswith("_proxy")]:
        monkeypatch.delenv(name)
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(RunFolderError, match="the Hugging Face hub cannot be reached from here"):
        polyrank.push(tmp_path / "out", "me/cards")


def check_it_tells_nothing_of_this_machine(folder, *places):
    for path in folder.rglob("*"):
        for place in (*places, Path.home()):
            assert str(place).encode() not in path.read_bytes(), (path.name, place)


@pytest.mark.parametrize("how", [{}, {"client": "0"}, {"merge": True}], ids=str)
def test_an_export_tells_no_folder_of_this_machine(run, tmp_path, how):
    export(run, tmp_path / "out", **how)
    check_it_tells_nothing_of_this_machine(tmp_path / "out", model_path(), run.parent, tmp_path)
    assert "csv:questions.csv" in (tmp_path / "out" / "README.md").read_text()


def test_a_run_started_from_an_export_starts_where_it_ended(run, expected, tmp_path):
    """Adapter and head: the first evaluation repeats the old run's last."""
    export(run, tmp_path / "out")
    settings = RunFolder.open(run).settings
    changed = settings.model_copy(update={"init_adapter": str(tmp_path / "out")})
    after = polyrank.run(changed, out=tmp_path / "next").folder
    ended = lines_in(run, "rounds")[-1]["test"]
    assert lines_in(after, "rounds")[0]["test"] == pytest.approx(ended, rel=1e-5)
    narrow = settings.model_copy(
        update={"adapter": settings.adapter.model_copy(update={"extras": "none"})}
    )
    with pytest.raises(AdapterError, match=r"'classifier\.(weight|bias)', trained in full"):
        polyrank.run(
            narrow.model_copy(update={"init_adapter": str(tmp_path / "out")}), out=tmp_path / "no"
        )


def test_the_exported_run_can_be_evaluated(run):
    found = evaluate(run)
    ended = lines_in(run, "rounds")[-1]["test"]
    assert {n: found[n] for n in ended} == pytest.approx(ended, rel=1e-5)


def test_a_classifier_is_not_evaluated_on_texts_without_labels(run, tmp_path):
    (tmp_path / "more.csv").write_text("text\n" + "Where is my card?\n" * 9)
    with pytest.raises(DataError, match="expected labels"):
        evaluate(run, source=f"csv:{tmp_path}/more.csv")


def test_merged_is_a_folder_of_transformers(run, expected, tmp_path):
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    export(run, tmp_path / "out", merge=True)
    loaded = AutoModelForSequenceClassification.from_pretrained(tmp_path / "out")
    torch.testing.assert_close(logits(loaded), expected, rtol=1e-4, atol=1e-4)
    assert loaded.config.id2label == {0: "card", 1: "exchange", 2: "pin"}
    assert loaded.config.label2id == {"card": 0, "exchange": 1, "pin": 2}
    torch.testing.assert_close(logits(load_base(tmp_path / "out")), expected, rtol=1e-4, atol=1e-4)
    assert AutoTokenizer.from_pretrained(tmp_path / "out")("card")["input_ids"] == [101, 4003, 102]


def test_biases_of_adapted_modules_come_with_the_base(tmp_path):
    """PEFT's modules_to_save cannot hold them."""
    adapter = {"targets": ["query"], "extras": ["classifier", "*query.bias"]}
    run = polyrank.run(text_settings(tmp_path, adapter=adapter), out=tmp_path / "run").folder
    export(run, tmp_path / "out")
    loaded = PeftModel.from_pretrained(load_base(tmp_path / "out"), tmp_path / "out")
    torch.testing.assert_close(
        logits(loaded), logits(read_trained(run, None).bridge().model), rtol=1e-5, atol=1e-5
    )


def test_resumed_the_run_notices_another_model_under_the_same_name(tmp_path):
    copy = tmp_path / "model"
    shutil.copytree(model_path(), copy)
    settings = text_settings(tmp_path, model={"kind": "hf", "name": str(copy), "max_length": 16})
    longer = polyrank.run(settings.model_copy(update={"rounds": 2}), out=tmp_path / "longer")
    polyrank.run(settings, out=tmp_path / "run")
    shutil.copytree(tmp_path / "run", tmp_path / "again")
    resumed = polyrank.resume(tmp_path / "run", overrides=["rounds=2"])
    assert resumed.summary == longer.summary
    weights = load_file(copy / "model.safetensors")
    weights["encoder.layer.3.attention.self.query.bias"][0] += 1
    save_file(weights, copy / "model.safetensors", {"format": "pt"})
    with pytest.raises(RunFolderError, match="expected the weights that the run began with"):
        polyrank.resume(tmp_path / "again", overrides=["rounds=2"])
