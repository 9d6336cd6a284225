"""Language modelling with a small Llama that is trained here, on the text of the licence."""

import csv
import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from peft import PeftModel

import polyrank
from polyrank.criteria import ClientView, measure
from polyrank.errors import DataError, SettingsError
from polyrank.inputs.causal_texts import encode_causal
from polyrank.protocol.counts import CorrectTokens
from polyrank.record.run_folder import RunFolder
from polyrank.runs.export import export
from polyrank.runs.preparation import prepare
from polyrank.runs.trained_model import read_trained
from polyrank.server.metrics import token_metrics
from polyrank.settings.toml import make_settings
from tests.written import lines_in, summary_in

LICENCE = Path(__file__).parents[2] / "LICENSE"
CHAT = (
    "{% for m in messages %}<|{{ m['role'] }}|>{{ m['content'] }}{{ eos_token }}{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)


def sentences() -> list[str]:
    """The licence, sixteen words at a time."""
    words = LICENCE.read_text(encoding="utf-8").split()
    return [" ".join(words[at : at + 16]) for at in range(0, len(words) - 16, 12)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A model with tied embeddings, trained for a few seconds, and its tokeniser."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    raw = Tokenizer(models.BPE())
    raw.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    raw.decoder = decoders.ByteLevel()
    special = ["<pad>", "<end>"]
    trainer = trainers.BpeTrainer(
        vocab_size=600,
        special_tokens=special,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    raw.train_from_iterator(sentences(), trainer)
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=raw, pad_token="<pad>", eos_token="<end>", model_max_length=64
    )
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        max_position_embeddings=64,
        tie_word_embeddings=True,
        eos_token_id=1,
        pad_token_id=0,
        bos_token_id=None,
    )
    torch.manual_seed(0)
    model = LlamaForCausalLM(config)
    optimizer = torch.optim.Adam(model.parameters(), 1e-2)
    ids = [tokenizer(text)["input_ids"][:24] for text in sentences()[:120]]
    batch = torch.tensor([i for i in ids if len(i) == 24])
    for _ in range(40):
        optimizer.zero_grad()
        model(input_ids=batch, labels=batch).loss.backward()
        optimizer.step()
    place = tmp_path_factory.mktemp("llama") / "model"
    model.save_pretrained(place)
    tokenizer.save_pretrained(place)
    return place


@pytest.fixture
def tokenizer(folder):
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(folder)


def encoded(tokenizer, inputs, max_length=64, cache=None):
    given = np.empty(len(inputs), dtype=object)
    given[:] = inputs
    return encode_causal(given, np.zeros(len(inputs), int), tokenizer, max_length, 0, cache)


def read_and_predicted(tokenizer, given, max_length=64):
    """Text of the tokens that are read only, and of those that are predicted."""
    inputs, labels = encoded(tokenizer, [given], max_length).examples.batch(torch.tensor([0]))
    wanted = labels[0] != -100
    assert labels[0][wanted].tolist() == inputs["input_ids"][0][wanted].tolist()
    ids = inputs["input_ids"][0]
    return tokenizer.decode(ids[~wanted]), tokenizer.decode(ids[wanted])


def test_only_the_completion_is_predicted(tokenizer):
    pair = {"prompt": "Who is it?", "completion": " A client."}
    assert read_and_predicted(tokenizer, pair) == ("Who is it?", " A client.<end>")
    assert read_and_predicted(tokenizer, "A client.") == ("", "A client.<end>")


def test_of_a_conversation_the_last_answer_is_predicted(tokenizer):
    tokenizer.chat_template = CHAT
    messages = [
        {"role": "user", "content": "One"},
        {"role": "assistant", "content": "Two"},
        {"role": "user", "content": "Three"},
        {"role": "assistant", "content": "Four"},
    ]
    before = "<|user|>One<end><|assistant|>Two<end><|user|>Three<end><|assistant|>"
    assert read_and_predicted(tokenizer, {"messages": messages}) == (before, "Four<end>")
    with pytest.raises(DataError, match=r"last message to be the assistant's, got 'user'"):
        encoded(tokenizer, [{"messages": messages[:3]}])


def test_conversations_need_a_template(tokenizer):
    with pytest.raises(SettingsError, match="no chat template"):
        encoded(tokenizer, [{"messages": [{"role": "assistant", "content": "Hi"}]}])


def test_a_prompt_that_is_too_long_loses_its_beginning(tokenizer):
    pair = {"prompt": "One two three four five six seven", "completion": " yes"}
    read, predicted = read_and_predicted(tokenizer, pair, max_length=10)
    assert predicted == " yes<end>"
    assert read
    assert pair["prompt"].endswith(read)
    many = encoded(tokenizer, [pair, {"prompt": "a", "completion": "b"}], max_length=10)
    assert many.cut == 1
    assert int(many.examples.lengths.max()) == 10
    long = {"prompt": "ab", "completion": "One two three four five six seven"}
    read, predicted = read_and_predicted(tokenizer, long, max_length=6)
    assert read
    assert long["completion"].startswith(predicted)


def test_nothing_to_predict_is_an_error(tokenizer):
    with pytest.raises(DataError, match="row 1: nothing to predict"):
        encoded(tokenizer, ["some words", {"prompt": "several words", "completion": ""}])


def test_starts_come_back_from_the_cache(tokenizer, tmp_path):
    pairs = [
        {"prompt": "Who?", "completion": " Me"},
        {"prompt": "What is it?", "completion": " No"},
    ]
    first = encoded(tokenizer, pairs, cache=tmp_path).examples
    again = encoded(tokenizer, pairs, cache=tmp_path).examples
    assert len(list(tmp_path.iterdir())) == 1
    assert again.starts is not first.starts
    assert torch.equal(again.starts, first.starts)


def settings(folder, place, **changes):
    rows = [
        {"prompt": text[:20], "completion": text[20:], "site": f"s{i % 2}"}
        for i, text in enumerate(sentences())
    ]
    path = place / "rows.jsonl"
    path.write_text("\n".join(map(json.dumps, rows)))
    return make_settings(
        {
            "rounds": 2,
            "data": {"source": str(path), "group": "site"},
            "partition": "natural",
            "model": {"kind": "hf", "name": str(folder), "task": "causal-lm", "max_length": 48},
            "adapter": {"targets": "all-linear"},
            "criteria": ["loss_entropy", "token_loss_spread", "token_entropy", "sample_count"],
            "ranks": {"r_min": 1, "r_max": 4},
            "training": {"epochs": 2, "batch_size": 8, "learning_rate": 0.003},
            **changes,
        }
    )


@pytest.fixture(scope="module")
def run(folder, tmp_path_factory):
    place = tmp_path_factory.mktemp("causal")
    return polyrank.run(settings(folder, place), out=place / "run").folder


def test_the_loss_is_that_of_transformers_on_the_completion_alone(run, folder):
    """Round 0: the plain model, text by text, with transformers' own loss."""
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(folder).eval()
    test = prepare(RunFolder.open(run).settings, None).server.rows["test"].examples
    total, tokens = 0.0, 0
    for row in range(len(test)):
        inputs, labels = test.batch(torch.tensor([row]))
        with torch.no_grad():
            loss = model(**inputs, labels=labels).loss
        count = int((labels[:, 1:] != -100).sum())
        total, tokens = total + float(loss) * count, tokens + count
    first, *_, last = (line["test"] for line in lines_in(run, "rounds"))
    assert first["loss"] == pytest.approx(total / tokens, rel=1e-4)
    assert first["perplexity"] == pytest.approx(math.exp(total / tokens), rel=1e-3)
    assert last["loss"] < first["loss"]


def test_the_summary_tells_perplexity(run):
    folder = RunFolder.open(run)
    summary, last = summary_in(folder), lines_in(folder, "rounds")[-1]["test"]
    assert summary["perplexity"]["final"] == last["perplexity"] == math.exp(last["loss"])
    owns = [c["global"]["perplexity"] for c in lines_in(folder, "clients") if c["event"] == "final"]
    assert summary["worst_client"]["final"] == max(owns)


def test_before_is_the_plain_model_on_each_clients_own_rows(run, folder):
    """Against transformers' own loss, token by token over a client's test rows."""
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(folder).eval()
    sites = prepare(RunFolder.open(run).settings, None).sites
    finals = {c["client"]: c for c in lines_in(run, "clients") if c["event"] == "final"}
    assert finals.keys() == sites.keys()
    for client, site in sites.items():
        inputs, labels = site.test.examples.batch(site.test.numbers)
        with torch.no_grad():
            loss = float(model(**inputs, labels=labels).loss)
        assert finals[client]["before"]["loss"] == pytest.approx(loss, rel=1e-4)
        assert finals[client]["global"]["loss"] < loss


def test_ranks_come_from_criteria_that_need_no_labels(run):
    clients = [c for c in lines_in(run, "clients") if c["event"] == "profile"]
    assert {c["client"] for c in clients} == {"s0", "s1"}
    for client in clients:
        assert set(client["criteria"]) == {
            "loss_entropy",
            "token_loss_spread",
            "token_entropy",
            "sample_count",
        }
        assert client["criteria"]["token_loss_spread"] > 0
    assert lines_in(run, "rounds")[0]["steps"] > 0


def test_nothing_but_lora_is_trained_and_the_export_is_for_the_named_model(run, folder, tmp_path):
    from transformers import AutoModelForCausalLM

    trained = read_trained(run, None)
    assert trained.extras == {}
    assert all("lm_head" not in name for name in trained.adapter)
    words = {"input_ids": torch.arange(5, 17)[None]}
    with torch.no_grad():
        expected = trained.bridge().model(**words).logits
    export(run, tmp_path / "out")
    assert not (tmp_path / "out" / "base.safetensors").exists()
    with pytest.MonkeyPatch.context(), pytest.warns(FutureWarning, match="deprecated"):
        loaded = PeftModel.from_pretrained(
            AutoModelForCausalLM.from_pretrained(folder), tmp_path / "out"
        )
    with torch.no_grad():
        torch.testing.assert_close(loaded.eval()(**words).logits, expected, rtol=1e-4, atol=1e-5)


def test_plain_texts_and_resume(folder, tmp_path):
    (tmp_path / "rows.jsonl").write_text(
        "\n".join(json.dumps({"text": t}) for t in sentences()[:40])
    )
    changes = {
        "data": str(tmp_path / "rows.jsonl"),
        "partition": {"kind": "iid", "clients": 2},
    }
    longer = polyrank.run(settings(folder, tmp_path, **changes), out=tmp_path / "longer")
    polyrank.run(settings(folder, tmp_path, **changes, rounds=1), out=tmp_path / "run")
    assert polyrank.resume(tmp_path / "run", overrides=["rounds=2"]).summary == longer.summary


@pytest.mark.parametrize("kind", ["csv", "hf"])
def test_pairs_from_a_table_are_the_examples_of_the_same_lines(folder, tmp_path, kind):
    wanted = prepare(settings(folder, tmp_path), None).server.rows
    rows = [json.loads(line) for line in (tmp_path / "rows.jsonl").read_text().splitlines()]
    if kind == "csv":
        with (tmp_path / "rows.csv").open("w", newline="") as file:
            table = csv.DictWriter(file, list(rows[0]))
            table.writeheader()
            table.writerows(rows)
    else:
        pytest.importorskip("datasets.exceptions")
        from datasets import Dataset

        Dataset.from_list(rows).save_to_disk(tmp_path / "rows.hf")
    data = {"source": f"{kind}:{tmp_path}/rows.{kind}", "group": "site"}
    found = prepare(settings(folder, tmp_path, data=data), None).server.rows
    for part in ("validation", "test"):
        for name in ("ids", "offsets", "starts"):
            assert torch.equal(
                getattr(found[part].examples, name), getattr(wanted[part].examples, name)
            )


def test_a_classifier_needs_labels(folder, tmp_path):
    (tmp_path / "rows.csv").write_text("text,stars\ngood,1\nbad,0\ngood too,1\nnot good,0\n")
    data = {"source": f"{tmp_path}/rows.csv", "validation": 0}
    changes = {
        "model": {"kind": "hf", "name": str(folder)},
        "partition": {"kind": "iid", "clients": 1},
    }
    with pytest.raises(DataError, match=r"expected labels.* got none; .* data\.label"):
        prepare(settings(folder, tmp_path, data=data, **changes), None)
    named = settings(folder, tmp_path, data={**data, "label": "stars"}, **changes)
    assert prepare(named, None).server.blueprint.classes == 2


def test_the_calibrated_loss_needs_labels(folder, tmp_path):
    training = {"local_loss": "calibrated"}
    with pytest.raises(SettingsError, match="expected a task with labels"):
        prepare(settings(folder, tmp_path, training=training), None)


def test_a_classifier_says_that_it_takes_single_texts(folder, tmp_path):
    model = {"kind": "hf", "name": str(folder)}
    with pytest.raises(DataError, match="causal-lm"):
        prepare(settings(folder, tmp_path, model=model), None)


def test_token_metrics_by_hand():
    """Six tokens, three right, a summed loss of 6 ln 2: perplexity 2."""
    found = token_metrics(CorrectTokens(3, 6), 6 * math.log(2))
    assert found == pytest.approx({"accuracy": 0.5, "loss": math.log(2), "perplexity": 2.0})


def test_token_criteria_by_hand():
    """Losses 0, 0, 3, 3: standard deviation 1.5. Tokens 2, 1, 1: entropy 1.5 ln 2."""
    view = ClientView(
        np.zeros(0),
        4.0,
        token_losses=np.array([0.0, 0, 3, 3]),
        token_counts=np.array([0.0, 2, 0, 1, 1]),
    )
    found = measure(["token_loss_spread", "token_entropy"], view)
    assert found == pytest.approx({"token_loss_spread": 1.5, "token_entropy": 1.5 * math.log(2)})
    for name in found:
        with pytest.raises(DataError, match=name):
            measure([name], ClientView(np.ones(2), 2.0))
