"""A base in 4 bits, with the real bitsandbytes and the real model all-MiniLM-L6-v2."""

import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model

import polyrank
from polyrank.aggregators import AGGREGATORS
from polyrank.client.activations import activation_spectra
from polyrank.disk.checkpoint import load_tensors
from polyrank.errors import SettingsError
from polyrank.models import MODELS
from polyrank.models.packed import count_numbers, packed_modules
from polyrank.models.weights import put_weights, read_weights, share_weights
from polyrank.peft_bridge import find_extras, find_targets
from polyrank.protocol.messages import Update
from polyrank.record.run_folder import RunFolder
from polyrank.registry import Named
from polyrank.runs.evaluation import evaluate
from polyrank.runs.export import export
from polyrank.runs.exported_base import load_base
from polyrank.runs.packed_base import check_packed
from polyrank.runs.preparation import prepare
from polyrank.runs.trained_model import read_trained
from tests.texts import first_task, model_path, needs_demo, text_settings
from tests.written import lines_in

four_bit = pytest.importorskip("polyrank.models.four_bit", reason="needs pip install '.[4bit]'")
pytestmark = [
    needs_demo,
    # PEFT asks transformers for a property under its old name
    pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated"),
]
WORDS = {"input_ids": torch.tensor([[101, 2026, 4003, 102], [101, 9231, 102, 0]])}
WORDS["attention_mask"] = (WORDS["input_ids"] != 0).long()
LEVELS = torch.tensor(
    [
        *(-1.0, -0.6961928, -0.52507305, -0.39491749, -0.28444138, -0.18477343, -0.09105004, 0.0),
        *(0.0795803, 0.1609302, 0.2461123, 0.33791524, 0.44070983, 0.562617, 0.72295684, 1.0),
    ]
)
QUERY = "bert.encoder.layer.0.attention.self.query"


def nf4(**more):
    return {"kind": "hf", "name": model_path(), "dtype": "nf4", "max_length": 16, **more}


def four_bit_settings(folder, **more):
    return text_settings(folder, model=nf4(), **more)


def as_transformers_loads_it():
    """With the arithmetic of its training, also in evaluation and on every processor."""
    from transformers import AutoModelForSequenceClassification, BitsAndBytesConfig

    made = AutoModelForSequenceClassification.from_pretrained(
        model_path(),
        num_labels=3,
        quantization_config=BitsAndBytesConfig(
            load_in_4bit=True,
            bnb_4bit_quant_type="nf4",
            bnb_4bit_use_double_quant=True,
            bnb_4bit_compute_dtype=torch.float32,
            llm_int8_skip_modules=["classifier"],
        ),
        device_map="cpu",
    )
    for module in made.modules():
        if hasattr(module, "support_avx512bf16_for_cpu"):
            module.support_avx512bf16_for_cpu = False
    return made


@pytest.fixture(scope="module")
def model():
    return (
        MODELS.build(Named("hf", {"name": model_path(), "dtype": "nf4"}))
        .model((), 3, seed=1)
        .eval()
    )


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("nf4")
    settings = four_bit_settings(folder, adapter={"targets": ["query", "value"], "scaling": 0.7})
    return polyrank.run(settings, out=folder / "run").folder


def logits(model):
    with torch.no_grad():
        return model.eval()(**WORDS).logits


def test_the_model_is_that_of_transformers(model):
    theirs = as_transformers_loads_it()
    theirs.classifier.load_state_dict(model.classifier.state_dict())
    assert torch.equal(logits(model), logits(theirs))


def test_weights_are_the_nearest_of_sixteen_levels_in_blocks_of_64(model):
    """The levels of appendix E of the paper, times each block's largest weight.

    Largest weights are kept in 8 bits, to within 2 per cent of the largest among 256 of them.
    """
    full = MODELS.build(Named("hf", {"name": model_path()})).model((), 3, seed=1)
    published = full.state_dict()[f"{QUERY}.weight"]
    blocks = published.reshape(-1, 64)
    largest = blocks.abs().amax(dim=1, keepdim=True)
    nearest = (blocks / largest).unsqueeze(-1).sub(LEVELS).abs().argmin(dim=-1)
    expected = (LEVELS[nearest] * largest).reshape(384, 384)
    found = four_bit.at_full_precision(read_weights(model))[f"{QUERY}.weight"]
    torch.testing.assert_close(found, expected, rtol=0, atol=0.02 * float(largest.max()))
    assert float((found - published).abs().mean()) > 0.001


def test_numbers_are_counted_as_what_they_stand_for_and_take_an_eighth(model):
    full = MODELS.build(Named("hf", {"name": model_path()})).model((), 3, seed=1)
    packed, plain = read_weights(model), read_weights(full)
    assert torch.equal(packed["classifier.weight"], plain["classifier.weight"])
    assert count_numbers(packed) == count_numbers(plain) == sum(t.numel() for t in plain.values())
    modules = packed_modules(packed)
    assert len(modules) == 6 * 6 + 1
    held = sum(t.nbytes for n, t in packed.items() if n.partition(".weight")[0] in modules)
    held -= sum(packed[f"{module}.bias"].nbytes for module in modules if f"{module}.bias" in packed)
    before = sum(plain[f"{module}.weight"].nbytes for module in modules)
    assert before / 8 < held < before / 7


def test_a_model_that_was_saved_in_4_bits_stays_as_it_is(tmp_path):
    theirs = as_transformers_loads_it()
    theirs.save_pretrained(tmp_path / "packed")
    options = {"name": str(tmp_path / "packed")}
    shell = MODELS.build(Named("hf", options)).shell((), 3)
    put_weights(shell, read_weights(MODELS.build(Named("hf", options)).model((), 3, seed=0)))
    assert len(packed_modules(read_weights(shell))) == 6 * 6 + 1
    assert torch.equal(logits(shell), logits(theirs))


def test_a_shell_with_the_weights_put_in_is_the_model_without_a_copy(model):
    weights = read_weights(model)
    shell = MODELS.build(Named("hf", {"name": model_path(), "dtype": "nf4"})).shell((), 3)
    put_weights(shell, weights)
    assert torch.equal(logits(shell), logits(model))
    held = shell.get_submodule(QUERY).weight
    assert held.data_ptr() == weights[f"{QUERY}.weight"].data_ptr()
    assert held.quant_state.absmax.data_ptr() == weights[f"{QUERY}.weight.absmax"].data_ptr()
    again = read_weights(shell)
    assert again.keys() == weights.keys()
    assert all(torch.equal(again[n], t) for n, t in weights.items())


def test_shared_weights_are_the_same_in_few_blocks_of_memory(model):
    weights = {n: t.clone() for n, t in read_weights(model).items()}
    shared = share_weights(weights)
    assert all(t.is_shared() and torch.equal(t, weights[n]) for n, t in shared.items())
    large = sum(t.nbytes >= 2**16 for t in weights.values())
    assert len({t.untyped_storage().data_ptr() for t in shared.values()}) == large + 1


def test_tensors_of_every_kind_can_be_shared():
    kinds = {
        "scalar": torch.tensor(7),
        "empty": torch.zeros(0, 3),
        "truth": torch.tensor([True, False, True]),
        "half": torch.arange(6).reshape(2, 3).bfloat16(),
        "turned": torch.arange(6.0).reshape(2, 3).T,
    }
    shared = share_weights(kinds)
    assert all(t.dtype == kinds[n].dtype and torch.equal(t, kinds[n]) for n, t in shared.items())


def test_the_size_of_a_module_is_that_of_its_unpacked_weight(model):
    shape = find_targets(model, ["*intermediate.dense"])
    assert {(s.d_in, s.d_out) for s in shape.values()} == {(384, 1536)}


def test_a_layer_computes_in_the_type_of_autocast_and_forgets_it(model, monkeypatch):
    """bitsandbytes' own layer does not: it keeps a type, rounds its bias, packs weights anew."""
    kinds, product = [], four_bit.bitsandbytes.matmul_4bit
    monkeypatch.setattr(
        "bitsandbytes.matmul_4bit", lambda x, *a, **k: kinds.append(x.dtype) or product(x, *a, **k)
    )
    layer = model.get_submodule(QUERY).eval()
    weight = four_bit.at_full_precision(read_weights(model))[f"{QUERY}.weight"]
    x = torch.randn(5, 384, generator=torch.Generator().manual_seed(0))
    place, bias = layer.weight.data_ptr(), layer.bias.detach().clone()
    with torch.no_grad():
        before = layer(x)
        with torch.autocast("cpu", torch.bfloat16):
            mixed, expected = layer(x), torch.nn.functional.linear(x, weight, bias)
        assert torch.equal(layer(x), before)
    assert kinds == [torch.float32, torch.bfloat16, torch.float32]
    torch.testing.assert_close(before, torch.nn.functional.linear(x, weight, bias))
    assert mixed.dtype == expected.dtype == torch.bfloat16
    torch.testing.assert_close(mixed, expected, rtol=0.02, atol=0.02)
    assert (layer.weight.data_ptr(), layer.bias.dtype) == (place, torch.float32)
    assert torch.equal(layer.bias, bias)


def test_a_step_of_training_is_that_of_peft_on_transformers_model(tmp_path, monkeypatch):
    """Dropout included: both draw it from the same seed, for whole batches."""
    monkeypatch.setattr("polyrank.learning.training.call_cost", lambda model, device: 1e9)
    training = {"steps": 2, "batch_size": 36, "learning_rate": 0.005}
    ready = prepare(four_bit_settings(tmp_path, training=training), None)
    trainer = ready.crew.performer().trainer
    kinds = {
        f"{type(x).__module__}.{type(x).__name__}" for x in trainer.model.bridge.layers.values()
    }
    assert kinds == {"peft.tuners.lora.bnb.Linear4bit"}
    task = first_task(ready)
    adapter, extras = task.download.adapter, task.download.extras
    answer = trainer.perform(task)
    assert isinstance(answer, Update), answer

    base = as_transformers_loads_it()
    base.classifier.load_state_dict({n.partition(".")[2]: t for n, t in extras.items()})
    config = LoraConfig(
        r=4, lora_alpha=4, target_modules=["query", "value"], modules_to_save=["classifier"]
    )
    theirs = get_peft_model(base, config)
    for name, factors in adapter.items():
        layer = theirs.base_model.model.get_submodule(name)
        layer.lora_A["default"].weight.data.copy_(factors.a)
        layer.lora_B["default"].weight.data.copy_(factors.b)
    own = trainer.sites["0"].train
    optimizer = torch.optim.Adam([p for p in theirs.parameters() if p.requires_grad], 0.005)
    shuffled = torch.Generator().manual_seed(trainer.model.seed("batches", task.id))
    torch.manual_seed(trainer.model.seed("torch", task.id))
    theirs.train()
    for _ in range(2):
        order = torch.randperm(len(own), generator=shuffled)
        (batch,) = own.examples.parts(own.numbers[order], 1, 1e9)
        inputs, labels = own.examples.batch(batch)
        torch.nn.functional.cross_entropy(theirs(**inputs).logits, labels).backward()
        optimizer.step()
        optimizer.zero_grad()
    for name, factors in answer.adapter.items():
        layer = theirs.base_model.model.get_submodule(name)
        product = layer.lora_B["default"].weight @ layer.lora_A["default"].weight
        assert float(product.detach().abs().max()) > 0.001
        torch.testing.assert_close(factors.b @ factors.a, product, rtol=1e-3, atol=1e-6)
    head = theirs.base_model.model.classifier.modules_to_save["default"].weight
    torch.testing.assert_close(answer.extras["classifier.weight"], head, rtol=1e-4, atol=1e-6)


def test_workers_and_resuming_change_no_bit(tmp_path):
    settings = four_bit_settings(tmp_path, rounds=2)
    polyrank.run(settings, out=tmp_path / "one")
    two = settings.model_copy(update={"workers": 2, "rounds": 1})
    polyrank.run(two, out=tmp_path / "two")
    polyrank.resume(tmp_path / "two", overrides=["rounds=2", "workers=1"])
    for name in ("rounds.jsonl", "clients.jsonl", "summary.json"):
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()


def test_the_run_keeps_no_copy_of_the_model_and_is_evaluated_again(run):
    kept, _ = load_tensors(run / "checkpoint" / "base.safetensors")
    assert set(kept) == {"classifier.weight", "classifier.bias"}
    ended = lines_in(run, "rounds")[-1]["test"]
    found = evaluate(run)
    assert {n: found[n] for n in ended} == pytest.approx(ended, rel=1e-6)
    state = RunFolder.open(run).last_state()
    assert load_tensors(state)[1]["facts"]["parameters"]["base"] == 22714371


def test_peft_puts_the_adapter_on_the_model_in_4_bits_and_on_that_published(run, tmp_path):
    from transformers import AutoModelForSequenceClassification

    expected = logits(read_trained(run, None).bridge().model)
    export(run, tmp_path / "out")
    assert not (tmp_path / "out" / "base.safetensors").exists()
    theirs = PeftModel.from_pretrained(as_transformers_loads_it(), tmp_path / "out")
    torch.testing.assert_close(logits(theirs), expected, rtol=1e-5, atol=1e-5)
    base = load_base(tmp_path / "out", base=model_path())
    ours = PeftModel.from_pretrained(base, tmp_path / "out")
    torch.testing.assert_close(logits(ours), expected, rtol=1e-5, atol=1e-5)
    plain = AutoModelForSequenceClassification.from_pretrained(model_path(), num_labels=3)
    published = logits(PeftModel.from_pretrained(plain, tmp_path / "out"))
    assert 1e-3 < float((published - expected).abs().max()) < 0.3


def test_merged_the_weights_are_what_4_bits_stand_for_in_float32(run, tmp_path):
    from transformers import AutoModelForSequenceClassification

    expected = logits(read_trained(run, None).bridge().model)
    export(run, tmp_path / "out", merge=True)
    loaded = AutoModelForSequenceClassification.from_pretrained(tmp_path / "out")
    assert {p.dtype for p in loaded.parameters()} == {torch.float32}
    torch.testing.assert_close(logits(loaded), expected, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(
        logits(load_base(tmp_path / "out", trust=True)), expected, rtol=1e-4, atol=1e-4
    )


def test_biases_of_packed_layers_are_trained_and_come_with_the_base(tmp_path):
    settings = four_bit_settings(
        tmp_path,
        adapter={"targets": ["query"], "extras": ["classifier", "*query.bias"]},
        training={"steps": 2, "batch_size": 4, "autocast": "bf16"},
    )
    run = polyrank.run(settings, out=tmp_path / "run").folder
    trained = read_trained(run, None)
    bias = trained.extras[f"{QUERY}.bias"]
    assert bias.dtype == torch.float32
    assert not torch.equal(bias, bias.bfloat16().float())
    export(run, tmp_path / "out")
    loaded = PeftModel.from_pretrained(load_base(tmp_path / "out", trust=True), tmp_path / "out")
    expected = logits(trained.bridge().model)
    torch.testing.assert_close(logits(loaded), expected, rtol=1e-5, atol=1e-5)


def test_criteria_and_spectra_are_measured_on_it(tmp_path, model):
    """The spectra are those of the model with the numbers that its 4 bits stand for."""
    plain = MODELS.build(Named("hf", {"name": model_path()})).shell((), 3)
    put_weights(plain, four_bit.at_full_precision(read_weights(model)))
    found, expected = (
        activation_spectra(m, {QUERY: m.get_submodule(QUERY)}, [WORDS], keep=3)
        for m in (model, plain)
    )
    assert found[QUERY] == pytest.approx(expected[QUERY], rel=1e-4)
    settings = four_bit_settings(
        tmp_path,
        allocator={"kind": "eva", "rank": 2},
        criteria=["loss_entropy", "sample_count"],
        training={"epochs": 1, "batch_size": 8, "learning_rate": 0.005, "checkpointing": True},
    )
    assert polyrank.run(settings, out=tmp_path / "run").summary["failed"] == 0


def test_a_run_whose_aggregator_changes_the_base_is_refused(tmp_path):
    said = "model.dtype: the base is packed.*aggregator 'flora' adds to it.*'flexlora'"
    with pytest.raises(SettingsError, match=said):
        polyrank.run(four_bit_settings(tmp_path, aggregator="flora"), out=tmp_path / "run")


def test_every_aggregator_that_leaves_the_base_alone_passes(model, tmp_path):
    refused = set()
    for name in AGGREGATORS:
        try:
            check_packed(four_bit_settings(tmp_path, aggregator=name), model)
        except SettingsError:
            refused.add(name)
    assert refused == {"flora", "florist", "fedex"}


def test_training_packed_weights_is_refused(tmp_path, model):
    pretrain = {"share": 0.3}
    with pytest.raises(SettingsError, match="leave pretrain out"):
        prepare(four_bit_settings(tmp_path, pretrain=pretrain), None)
    shapes = find_targets(model, ["query"])
    with pytest.raises(
        SettingsError, match=r"'bert.pooler.dense.weight' is packed.*adapter.targets"
    ):
        find_extras(model, shapes, ["classifier", "pooler"])


def test_weights_that_are_not_packed_are_not_put_in(model):
    plain = four_bit.at_full_precision(read_weights(model))
    shell = MODELS.build(Named("hf", {"name": model_path(), "dtype": "nf4"})).model((), 3, seed=1)
    with pytest.raises(SettingsError, match="expected a weight packed in 4 bits"):
        put_weights(shell, plain)


def test_without_bitsandbytes_the_error_says_what_to_install(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(SettingsError, match=r"pip install 'polyrank\[4bit\]'"):
        MODELS.build(Named("hf", {"name": model_path(), "dtype": "nf4"})).model((), 3, seed=1)


@pytest.mark.parametrize("tied", [True, False])
def test_a_language_models_output_stays_unpacked(tmp_path, tied):
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    small = {"hidden_size": 32, "intermediate_size": 64, "num_attention_heads": 4}
    config = LlamaConfig(
        vocab_size=99, num_hidden_layers=1, pad_token_id=0, tie_word_embeddings=tied, **small
    )
    plain = LlamaForCausalLM(config)
    plain.save_pretrained(tmp_path / "llama")
    options = {"name": str(tmp_path / "llama"), "task": "causal-lm", "dtype": "nf4"}
    packed = MODELS.build(Named("hf", options)).model((), 0, seed=0)
    assert len(packed_modules(read_weights(packed))) == 7
    assert (packed.lm_head.weight is packed.model.embed_tokens.weight) == tied
    assert torch.equal(packed.lm_head.weight, plain.lm_head.weight)
    assert count_numbers(read_weights(packed)) == plain.num_parameters()
    ids = torch.tensor([[5, 6, 7]])
    with torch.no_grad():
        away = packed.eval()(input_ids=ids).logits - plain.eval()(input_ids=ids).logits
    assert 0 < float(away.abs().max()) < 0.1


def test_a_head_that_comes_with_the_model_stays_unpacked(tmp_path):
    from transformers import BertConfig, BertForSequenceClassification

    torch.manual_seed(0)
    small = {"hidden_size": 32, "intermediate_size": 64, "num_attention_heads": 4}
    plain = BertForSequenceClassification(
        BertConfig(vocab_size=99, num_hidden_layers=1, num_labels=3, **small)
    )
    plain.save_pretrained(tmp_path / "bert")
    packed = MODELS.build(Named("hf", {"name": str(tmp_path / "bert"), "dtype": "nf4"})).model(
        (), 3, seed=0
    )
    assert len(packed_modules(read_weights(packed))) == 7
    assert torch.equal(packed.classifier.weight, plain.classifier.weight)
