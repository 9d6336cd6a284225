"""What is observed of each slot: its change, its size, and AdaLoRA's importance."""

import numpy as np
import pytest
import torch
from peft import AdaLoraConfig
from peft.tuners.adalora.layer import RankAllocator
from torch import nn

from polyrank.allocators.slot_scores import (
    SlotSensitivity,
    slot_change,
    slot_magnitude,
    slot_sensitivity,
)
from polyrank.errors import SettingsError
from polyrank.lora.factors import Factors, Part, prefix


def parameter(numbers):
    return nn.Parameter(torch.tensor(numbers))


def watched(observer, parameters, steps):
    """Return the scores after steps, each a weight and a gradient for every parameter."""
    watch = observer.watching(parameters)
    flat = [p for parts in parameters.values() for p in parts.values()]
    for step in steps:
        for p, (weight, grad) in zip(flat, step, strict=True):
            p.data, p.grad = weight, grad
        watch.step()
    return {m: scores.numpy() for m, scores in watch.result().items()}


def random_factors(rank, seed):
    generator = torch.Generator().manual_seed(seed)
    a, b = torch.randn(rank, 5, generator=generator), torch.randn(4, rank, generator=generator)
    return Factors(a, b, prefix(rank))


def in_svd_form(factors, e):
    return Factors(factors.a, factors.b, factors.slots, torch.tensor(e)[:, None])


def test_magnitude_is_the_norm_of_each_slots_product_and_its_own_number_where_it_has_one():
    factors = random_factors(3, 1)
    for i, size in enumerate(slot_magnitude(factors, factors)):
        product = factors.b[:, i : i + 1].numpy() @ factors.a[i : i + 1].numpy()
        assert float(size) == pytest.approx(np.linalg.norm(product), rel=1e-6)
    numbered = in_svd_form(factors, [3.0, 0.0, -0.5])
    assert slot_magnitude(numbered, numbered).tolist() == [3.0, 0.0, 0.5]


@pytest.mark.parametrize("form", ["lora", "svd"])
def test_change_is_the_norm_of_what_moved_in_b_times_the_row_of_a(form):
    """Against dense products; with e of 0, 1, -2 before and 3, 1, 0.5 after."""
    before, after = random_factors(3, 0), random_factors(3, 1)
    was = now = [1.0] * 3
    if form == "svd":
        was, now = [0.0, 1.0, -2.0], [3.0, 1.0, 0.5]
        before, after = in_svd_form(before, was), in_svd_form(after, now)
    change = slot_change(before, after)
    for i in range(3):
        moved = now[i] * after.b[:, i : i + 1] - was[i] * before.b[:, i : i + 1]
        product = moved.numpy() @ after.a[i : i + 1].numpy()
        assert float(change[i]) == pytest.approx(np.linalg.norm(product), rel=1e-6)


def test_importance_of_two_steps_by_hand():
    """Betas one half; a of one slot is (2, 1), b is (4); gradients in two steps.

    a1: |2 * 1| = 2, then |2 * -3| = 6. I: 1, then 3.5. U: .5, then .25 + 1.25 = 1.5. s = 5.25.
    a2: |1 * 2| = 2, then 0.            I: 1, then 0.5. U: .5, then .25 + .25 = 0.5. s = 0.25.
    b:  |4 * 0| = 0, then |4 * 1| = 4.  I: 0, then 2.   U: 0, then 0 + 1 = 1.        s = 2.
    The slot: (5.25 + .25) / 2 + 2 = 4.75.
    """
    a, b = torch.tensor([[2.0, 1.0]]), torch.tensor([[4.0]])
    steps = [
        [(a, torch.tensor([[1.0, 2.0]])), (b, torch.tensor([[0.0]]))],
        [(a, torch.tensor([[-3.0, 0.0]])), (b, torch.tensor([[1.0]]))],
    ]
    module = {"fc": {Part.A: nn.Parameter(a), Part.B: nn.Parameter(b)}}
    assert watched(SlotSensitivity(0.5, 0.5), module, steps)["fc"] == pytest.approx([4.75])


def test_importance_is_that_of_a_loop_over_weights():
    """Two modules, one a convolution, betas .8 and .6: NumPy in float64, weight by weight."""
    random = np.random.default_rng(0)
    shapes = {
        "fc": {Part.A: (3, 5), Part.B: (4, 3)},
        "conv": {Part.A: (2, 3, 3, 3), Part.B: (6, 2, 1, 1)},
    }
    flat = [shape for parts in shapes.values() for shape in parts.values()]
    steps = [[random.normal(size=(2, *shape)) for shape in flat] for _ in range(7)]
    parameters = {
        m: {p: nn.Parameter(torch.zeros(shape)) for p, shape in parts.items()}
        for m, parts in shapes.items()
    }
    tensors = [[torch.from_numpy(pair).float() for pair in step] for step in steps]
    found = watched(SlotSensitivity(0.8, 0.6), parameters, tensors)
    place = 0
    for module, parts in shapes.items():
        expected = np.zeros(parts[Part.A][0])
        for part, shape in parts.items():
            for i in range(len(expected)):
                each = []
                for at in np.ndindex(*shape):
                    if at[1 if part is Part.B else 0] != i:
                        continue
                    smooth = unsure = 0.0
                    for step in steps:
                        weight, grad = step[place][0][at], step[place][1][at]
                        smooth = 0.8 * smooth + 0.2 * abs(weight * grad)
                        unsure = 0.6 * unsure + 0.4 * abs(abs(weight * grad) - smooth)
                    each.append(smooth * unsure)
                expected[i] += np.mean(each)
            place += 1
        np.testing.assert_allclose(found[module], expected, rtol=1e-5)


def test_importance_is_that_of_pefts_adalora():
    """Of its triplets, on five steps of random weights and gradients."""
    generator = torch.Generator().manual_seed(3)
    model = nn.ParameterDict()
    for name, shape in {"lora_A": (3, 5), "lora_B": (4, 3), "lora_E": (3, 1)}.items():
        model[name] = nn.ParameterDict({"default": nn.Parameter(torch.ones(shape))})
    theirs = RankAllocator(model, AdaLoraConfig(target_r=1, total_step=9), "default")
    parts = {part: model[f"lora_{part.name}"]["default"] for part in Part}
    watch = slot_sensitivity.watching({"fc": parts})
    for _ in range(5):
        for p in parts.values():
            p.data = torch.randn(p.shape, generator=generator)
            p.grad = torch.randn(p.shape, generator=generator)
        watch.step()
        theirs.update_ipt(model)
    means = [theirs._element_score(f"lora_{n}.default").mean(k) for n, k in (("A", 1), ("B", 0))]
    expected = theirs._combine_ipt(
        theirs._element_score("lora_E.default"), torch.stack(means, dim=1)
    )
    torch.testing.assert_close(watch.result()["fc"], expected)


def test_a_parameter_that_a_step_did_not_reach_had_gradient_zero():
    """Betas one half: |w grad| 6, then 0. I: 3, then 1.5. U: 1.5, then .75 + .75 = 1.5."""
    b = torch.tensor([[2.0]])
    steps = [[(b, torch.tensor([[3.0]]))], [(b, None)]]
    module = {"fc": {Part.B: nn.Parameter(b)}}
    assert watched(SlotSensitivity(0.5, 0.5), module, steps)["fc"] == pytest.approx([2.25])


def test_half_precision_is_summed_in_float32():
    """Products of 1e-4 by 1e-4 vanish in float16."""
    small = torch.full((1, 4), 1e-4, dtype=torch.float16)
    module = {"fc": {Part.A: nn.Parameter(small)}}
    scores = watched(slot_sensitivity, module, [[(small, small)]])["fc"]
    assert scores == pytest.approx([(0.15 * 1e-8) * (0.15 * 0.85 * 1e-8)], rel=1e-2)


def test_a_watch_keeps_two_numbers_for_each_trained_weight_and_nothing_else():
    parameters = {
        "fc1": {Part.A: parameter([[1.0] * 50] * 2), Part.B: parameter([[1.0] * 2] * 30)},
        "fc2": {Part.B: parameter([[1.0] * 3] * 20)},
    }
    watch = slot_sensitivity.watching(parameters)
    for parts in parameters.values():
        for p in parts.values():
            p.grad = torch.ones_like(p)
    for _ in range(3):
        watch.step()
    held = [t for of in watch._state.values() for pair in of.values() for t in pair]
    storages = {t.untyped_storage().data_ptr(): t.untyped_storage().nbytes() for t in held}
    assert sum(storages.values()) == 2 * 4 * (2 * (50 + 30) + 3 * 20)
    assert not any(t.requires_grad for t in held)


def test_watching_leaves_weights_and_gradients_as_they_are():
    a = parameter([[1.0, -2.0]])
    a.grad = torch.tensor([[-3.0, 4.0]])
    watch = slot_sensitivity.watching({"fc": {Part.A: a}})
    watch.step()
    watch.step()
    assert a.tolist() == [[1.0, -2.0]]
    assert a.grad.tolist() == [[-3.0, 4.0]]


@pytest.mark.parametrize("betas", [{"beta1": 1.0}, {"beta2": -0.1}])
def test_betas_out_of_range_are_refused(betas):
    with pytest.raises(SettingsError, match=r"beta[12]: expected a number from 0 to below 1, got"):
        SlotSensitivity(**betas)
