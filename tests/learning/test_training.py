import copy

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

from polyrank.errors import TrainingError
from polyrank.inputs.arrays import Examples
from polyrank.inputs.tokens import TokenExamples
from polyrank.learning.counting import count_answers
from polyrank.learning.forward import call_cost
from polyrank.learning.training import fit
from polyrank.server.rules import rate_factor
from polyrank.settings.training import TrainingSettings

LABELS = np.array([0, 1, 0, 1, 1, 0, 1, 0])


def problem() -> tuple[nn.Module, Examples]:
    generator = torch.Generator().manual_seed(0)
    inputs = torch.randn(30, 4, generator=generator)
    torch.manual_seed(1)
    return nn.Linear(4, 3), Examples(inputs, torch.arange(30) % 3)


def trained(settings: TrainingSettings, rate: float = 0.1, rows: int = 30) -> nn.Module:
    model, examples = problem()
    generator = torch.Generator().manual_seed(2)
    fit(model, list(model.parameters()), examples, torch.arange(rows), settings, rate, generator)
    return model


@pytest.mark.parametrize(
    ("settings", "optimizer"),
    [
        ({"optimizer": "sgd", "momentum": 0.9}, lambda p: torch.optim.SGD(p, 0.1, momentum=0.9)),
        ({"optimizer": "adam", "weight_decay": 0.1},
         lambda p: torch.optim.Adam(p, 0.1, weight_decay=0.1)),
        ({"optimizer": "adamw", "weight_decay": 0.1},
         lambda p: torch.optim.AdamW(p, 0.1, weight_decay=0.1)),
    ],
    ids=["sgd", "adam", "adamw"],
)  # fmt: skip
def test_training_is_the_plain_loop(settings, optimizer):
    ours = trained(TrainingSettings(epochs=2, batch_size=8, **settings))
    model, examples = problem()
    steps = optimizer(model.parameters())
    generator = torch.Generator().manual_seed(2)
    for _ in range(2):
        for batch in torch.randperm(30, generator=generator).split(8):
            steps.zero_grad()
            inputs, labels = examples.batch(batch)
            functional.cross_entropy(model(inputs), labels).backward()
            steps.step()
    torch.testing.assert_close(ours.weight, model.weight)


@pytest.mark.parametrize(
    ("epochs", "came"), [(1, "parameters became infinite or NaN"), (3, "the loss became nan")]
)
def test_a_learning_rate_at_which_training_diverges_is_to_be_lowered(epochs, came):
    settings = TrainingSettings(epochs=epochs, batch_size=30, optimizer="sgd")
    with pytest.raises(TrainingError, match=rf"rate 1e\+39, {came}: lower learning_rate"):
        trained(settings, 1e39)


def test_steps_override_epochs():
    model, examples = problem()
    settings = TrainingSettings(epochs=1, steps=9, batch_size=8)
    generator = torch.Generator().manual_seed(2)
    outcome = fit(
        model, list(model.parameters()), examples, torch.arange(30), settings, 0.1, generator
    )
    assert outcome.steps == 9
    assert len(outcome.epoch_losses) == 3


def test_clipping_bounds_the_first_step():
    settings = TrainingSettings(optimizer="sgd", clip_norm=0.01, steps=1, batch_size=30)
    before, _ = problem()
    after = trained(settings, rate=1.0)
    moved = [
        (p - q).flatten() for p, q in zip(after.parameters(), before.parameters(), strict=True)
    ]
    assert float(torch.cat(moved).norm().detach()) == pytest.approx(0.01, rel=1e-3)


def test_a_gradient_below_the_bound_is_taken_bit_by_bit():
    """Not scaled by a number next to one: a bound that is never met changes nothing."""
    free, bounded = (
        trained(TrainingSettings(optimizer="sgd", epochs=2, batch_size=8, clip_norm=norm))
        for norm in (0.0, 10.0)
    )
    for p, q in zip(free.parameters(), bounded.parameters(), strict=True):
        assert torch.equal(p, q)


def test_fedprox_adds_mu_times_the_way_from_the_start():
    """Two full-batch SGD steps by hand: the second gradient gains mu (w - w0)."""
    settings = TrainingSettings(optimizer="sgd", prox_mu=5.0, steps=2, batch_size=30)
    ours = trained(settings)
    model, examples = problem()
    start = copy.deepcopy(model)
    for _ in range(2):
        inputs, labels = examples.batch(torch.arange(30))
        loss = functional.cross_entropy(model(inputs), labels)
        pulls = zip(model.parameters(), start.parameters(), strict=True)
        loss = loss + 5.0 / 2 * sum(((p - q.detach()) ** 2).sum() for p, q in pulls)
        grads = torch.autograd.grad(loss, list(model.parameters()))
        with torch.no_grad():
            for parameter, grad in zip(model.parameters(), grads, strict=True):
                parameter -= 0.1 * grad
    torch.testing.assert_close(ours.weight, model.weight)


def test_a_schedule_stands_in_for_epochs_and_each_group_has_its_loss():
    """Two groups of two and one batch of five rows, in the order given."""
    model, examples = problem()
    settings = TrainingSettings(optimizer="sgd", epochs=7, batch_size=3)
    batches = torch.arange(15).split(5)
    schedule = [batches[:2], batches[2:]]
    outcome = fit(
        model,
        list(model.parameters()),
        examples,
        torch.arange(30),
        settings,
        1e-9,
        torch.Generator(),
        schedule=schedule,
    )
    inputs, labels = examples.batch(torch.arange(15))
    each = functional.cross_entropy(model(inputs), labels, reduction="none").detach()
    assert outcome.steps == 3
    assert outcome.epoch_losses == pytest.approx(
        [float(each[:10].mean()), float(each[10:].mean())], rel=1e-5
    )


def test_a_batch_in_parts_gives_the_step_of_the_whole_batch():
    """Eight rows in parts of 3, 3 and 2, whose means count by their rows."""
    whole = trained(TrainingSettings(optimizer="sgd", epochs=2, batch_size=8))
    parts = trained(TrainingSettings(optimizer="sgd", epochs=2, batch_size=8, accumulate=3))
    torch.testing.assert_close(parts.weight, whole.weight)
    assert not torch.equal(parts.weight, whole.weight)


@pytest.mark.parametrize(("round_rate", "head_rate"), [(0.1, 0.02), (0.05, 0.01)])
def test_the_head_has_a_rate_of_its_own_that_follows_the_schedule(round_rate, head_rate):
    """One SGD step by hand; settings: 0.1 and, for the head (the bias), 0.02."""
    settings = TrainingSettings(
        optimizer="sgd", learning_rate=0.1, head_learning_rate=0.02, steps=1, batch_size=30
    )
    model, examples = problem()
    before = copy.deepcopy(model)
    rows, generator = torch.arange(30), torch.Generator().manual_seed(2)
    parameters = list(model.parameters())
    fit(model, parameters, examples, rows, settings, round_rate, generator, head=[model.bias])
    inputs, labels = examples.batch(rows)
    functional.cross_entropy(before(inputs), labels).backward()
    torch.testing.assert_close(model.weight, before.weight - round_rate * before.weight.grad)
    torch.testing.assert_close(model.bias, before.bias - head_rate * before.bias.grad)


def test_autocast_runs_the_model_in_half_precision():
    seen = []
    model, examples = problem()
    model.register_forward_hook(lambda module, given, out: seen.append(out.dtype))
    for name in ("bf16", "fp16"):
        settings = TrainingSettings(optimizer="sgd", autocast=name, steps=1, batch_size=30)
        rows, generator = torch.arange(30), torch.Generator().manual_seed(2)
        fit(model, list(model.parameters()), examples, rows, settings, 0.1, generator)
        count_answers(model, examples, rows, 3, torch.device("cpu"), name)
    assert seen == [torch.bfloat16] * 2 + [torch.float16] * 2


@pytest.mark.parametrize("autocast", ["bf16", "fp16"])
def test_autocast_takes_nearly_the_same_steps(autocast):
    """fp16 scales the loss by 65,536; a step that forgot to divide would be far off."""
    clipped = {"optimizer": "sgd", "epochs": 2, "batch_size": 8, "clip_norm": 0.5}
    whole, half = (trained(TrainingSettings(**clipped, autocast=a)) for a in ("none", autocast))
    start, _ = problem()
    moved = (whole.weight - start.weight).detach().norm()
    assert (half.weight - whole.weight).detach().norm() < 0.02 * moved


def test_nothing_to_train_on_is_an_error():
    with pytest.raises(TrainingError, match="0 rows"):
        trained(TrainingSettings(), rows=0)


def test_uint8_images_are_scaled_and_get_their_channels_first():
    images = np.arange(2 * 4 * 4 * 3, dtype=np.uint8).reshape(2, 4, 4, 3)
    examples = Examples.from_arrays(images, np.array([0, 1]))
    inputs, labels = examples.batch(torch.tensor([1]))
    assert examples.input_shape == (3, 4, 4)
    assert inputs.shape == (1, 3, 4, 4)
    assert float(inputs[0, 2, 3, 1]) == pytest.approx(images[1, 3, 1, 2] / 255)
    assert labels.tolist() == [1]


@pytest.mark.parametrize(
    ("schedule", "expected"),
    [
        ("constant", [1, 1, 1, 1]),
        ("linear", [1, 0.75, 0.5, 0.25]),
        ("cosine", [1, 0.854, 0.5, 0.146]),
    ],
)
def test_learning_rate_schedules(schedule, expected):
    """Cosine: (1 + cos(pi (t - 1) / 4)) / 2, to three digits."""
    rates = [rate_factor(schedule, t, 4) for t in (1, 2, 3, 4)]
    assert rates == pytest.approx(expected, abs=5e-4)


def test_texts_in_parts_of_like_lengths_give_the_step_of_the_padded_batch(monkeypatch):
    pytest.importorskip("transformers")
    from transformers import BertConfig, BertForSequenceClassification

    lengths = [2, 30, 3, 4, 29, 2, 5, 3]
    texts = TokenExamples.from_lists([[*range(1, n + 1)] for n in lengths], LABELS, 0)
    config = BertConfig(
        vocab_size=40,
        hidden_size=8,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=16,
        hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0,
    )

    def stepped(call_cost: float) -> tuple[list[int], dict[str, torch.Tensor]]:
        torch.manual_seed(0)
        model, shapes = BertForSequenceClassification(config), []
        model.register_forward_pre_hook(
            lambda module, args, named: shapes.append([*named["input_ids"].shape]),
            with_kwargs=True,
        )
        monkeypatch.setattr("polyrank.learning.training.call_cost", lambda model, device: call_cost)
        settings = TrainingSettings(optimizer="sgd", epochs=1, batch_size=8)
        generator = torch.Generator().manual_seed(2)
        fit(model, [*model.parameters()], texts, torch.arange(8), settings, 0.5, generator)
        return shapes, model.state_dict()

    padded, whole = stepped(1e9)
    cut, parts = stepped(9)
    assert (padded, cut) == ([[8, 30]], [[2, 30], [6, 5]])
    torch.testing.assert_close(parts, whole)


def test_a_call_costs_fewer_tokens_the_larger_the_model():
    cpu = torch.device("cpu")
    assert call_cost(nn.Linear(1000, 7000), cpu) == pytest.approx(100)
    assert call_cost(nn.Linear(10, 10), cpu) > 1e6
    assert call_cost(nn.Linear(1000, 7000), torch.device("cuda")) > 1e6


def test_answers_are_counted_by_true_label_and_answer():
    """A model that answers label 1 to all: rows are true labels, columns are answers."""
    model, examples = problem()
    with torch.no_grad():
        model.weight.zero_()
        model.bias.copy_(torch.tensor([0.0, 5.0, 0.0]))
    rows = torch.arange(10)  # labels 0 1 2 0 1 2 0 1 2 0
    counts, _ = count_answers(model, examples, rows, 3, torch.device("cpu"))
    assert counts.counts.tolist() == [[0, 4, 0], [0, 3, 0], [0, 3, 0]]


class Grads:
    """A watch that keeps the weight and its gradient at each step."""

    def __init__(self, weight: nn.Parameter) -> None:
        self.weight, self.seen = weight, []

    def step(self) -> None:
        self.seen.append((self.weight.detach().clone(), self.weight.grad.clone()))

    def result(self) -> dict[str, torch.Tensor]:
        return {"fc": torch.tensor([float(len(self.seen))])}


def watched(**settings) -> tuple[Grads, nn.Module, dict[str, torch.Tensor]]:
    model, examples = problem()
    watch = Grads(model.weight)
    outcome = fit(
        model,
        list(model.parameters()),
        examples,
        torch.arange(30),
        TrainingSettings(optimizer="sgd", **settings),
        0.1,
        torch.Generator().manual_seed(2),
        watch=watch,
    )
    return watch, model, outcome.observed


@pytest.mark.parametrize("autocast", ["none", "fp16"])
def test_a_watch_sees_the_gradients_of_the_loss_before_pull_clipping_and_step(autocast):
    """Two steps with all rows; fp16 scales the loss by 65,536, which must be undone by then."""
    bounds = {"prox_mu": 5.0, "clip_norm": 0.01}
    watch, _, observed = watched(steps=2, batch_size=30, autocast=autocast, **bounds)
    model, examples = problem()
    inputs, labels = examples.batch(torch.arange(30))
    first = watch.seen[0][0]
    for weight, grad in watch.seen:
        model.weight.data = weight
        loss = functional.cross_entropy(model(inputs), labels)
        expected = torch.autograd.grad(loss, model.weight)[0]
        torch.testing.assert_close(grad, expected, rtol=0.02, atol=2e-3)
    assert torch.equal(first, problem()[0].weight)
    assert not torch.equal(watch.seen[1][0], first)
    assert observed["fc"].tolist() == [2.0]


@pytest.mark.parametrize("accumulate", [1, 3])
def test_a_watch_sees_one_step_whatever_parts_the_batch_comes_in(accumulate):
    """30 rows in batches of 8 are four steps, each with the mean gradient of its whole batch."""
    settings = {"epochs": 1, "batch_size": 8}
    watch, model, observed = watched(**settings, accumulate=accumulate)
    assert observed["fc"].tolist() == [4.0]
    for (_, ours), (_, whole) in zip(watch.seen, watched(**settings)[0].seen, strict=True):
        torch.testing.assert_close(ours, whole)
    plain = trained(TrainingSettings(optimizer="sgd", **settings, accumulate=accumulate))
    assert torch.equal(model.weight, plain.weight)


def test_a_watch_does_not_see_a_step_that_is_skipped_for_its_overflow(monkeypatch):
    """At a scale of 2**40 gradients overflow in half precision until it has halved enough."""
    scaler = torch.amp.GradScaler
    monkeypatch.setattr(
        torch.amp, "GradScaler", lambda device, enabled: scaler(device, 2.0**40, enabled=enabled)
    )
    watch, _, _ = watched(steps=60, batch_size=30, autocast="fp16")
    assert 0 < len(watch.seen) < 60
    assert all(bool(grad.isfinite().all()) for _, grad in watch.seen)
