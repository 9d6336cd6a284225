import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from polyrank.criteria import (
    CRITERIA,
    ClientView,
    measure,
    needs_probe,
    noisy_counts,
    noisy_view,
    reads_losses,
    without_noise,
)
from polyrank.errors import DataError, SettingsError, ShapeError, UnknownNameError

counts = st.lists(st.floats(0, 1e300), min_size=1, max_size=8).map(np.array)
losses = st.lists(st.floats(0, 1e300), min_size=2, max_size=8).map(np.array)


def view(label_counts=(1.0, 1.0), examples=2.0, epochs=None, each=None):
    arrays = [None if given is None else np.array(given, float) for given in (epochs, each)]
    return ClientView(np.array(label_counts, float), examples, *arrays)


def one(name, of):
    return measure([name], of)[name]


@reads_losses
def own_with_losses(of):
    return float(of.epoch_losses.sum())


def own_nan(of):
    return float("nan")


def test_label_entropy_by_hand():
    """Shares 1/2, 1/4, 1/4, 0: ln 2 / 2 + 2 (ln 4 / 4) = 1.5 ln 2."""
    assert one("label_entropy", view([2, 1, 1, 0])) == pytest.approx(1.5 * np.log(2))


def test_gini_simpson_by_hand():
    """Shares 1/2, 1/4, 1/4: 1 - (1/4 + 1/16 + 1/16) = 5/8."""
    assert one("gini_simpson", view([2, 1, 1, 0])) == pytest.approx(5 / 8)


def test_label_count_takes_half_an_example_as_one():
    assert one("label_count", view([2, 0.5, 0.4, 0])) == 2


def test_sample_count_is_the_number_of_examples():
    assert one("sample_count", view(examples=17)) == 17


def test_loss_entropy_by_hand():
    """Losses 3, 1: q = 3/4, 1/4; H = -(3/4 ln 3/4 + 1/4 ln 1/4) / ln 2 = 2 - 3/4 log2 3."""
    expected = 2 - 0.75 * np.log2(3)
    assert one("loss_entropy", view(epochs=[3, 1])) == pytest.approx(expected)
    assert one("loss_entropy_examples", view(each=[1, 3])) == pytest.approx(expected)


def test_loss_that_falls_faster_is_easier_data():
    fast, slow = view(epochs=[2, 0.5, 0.1]), view(epochs=[2, 1.9, 1.8])
    assert one("loss_entropy", fast) < one("loss_entropy", slow)


@pytest.mark.parametrize("name", ["label_entropy", "gini_simpson"])
@pytest.mark.parametrize("label_counts", [[7, 0, 0], [0, 0, 0], [5e-324, 0, 0]])
def test_one_label_or_none_has_no_diversity(name, label_counts):
    assert one(name, view(label_counts)) == 0


@pytest.mark.parametrize("name", ["label_entropy", "gini_simpson"])
@settings(deadline=None, max_examples=60)
@given(given=counts, random=st.randoms(use_true_random=False))
def test_order_of_labels_does_not_matter_to_the_bit(name, given, random):
    shuffled = given.tolist()
    random.shuffle(shuffled)
    assert one(name, view(given)) == one(name, view(shuffled))


@settings(deadline=None, max_examples=60)
@given(given=counts)
def test_label_criteria_are_within_their_bounds(given):
    got = measure(["label_entropy", "gini_simpson", "label_count"], view(given))
    size = len(given)
    assert 0 <= got["label_entropy"] <= np.log(size) + 1e-9
    assert 0 <= got["gini_simpson"] <= 1 - 1 / size + 1e-9
    assert 0 <= got["label_count"] <= size


@settings(deadline=None, max_examples=60)
@given(given=losses)
def test_loss_entropies_are_within_zero_and_one(given):
    got = measure(["loss_entropy", "loss_entropy_examples"], view(epochs=given, each=given))
    assert all(0 <= value <= 1 for value in got.values())


@pytest.mark.parametrize("name", ["loss_entropy", "loss_entropy_examples"])
def test_losses_that_never_change_and_losses_that_are_zero(name):
    assert one(name, view(epochs=[2, 2, 2], each=[2, 2, 2])) == pytest.approx(1)
    assert one(name, view(epochs=[0, 0], each=[0, 0])) == 0


def test_single_example_has_no_spread():
    assert one("loss_entropy_examples", view(each=[3.0])) == 0


@pytest.mark.parametrize(
    ("name", "of", "said"),
    [
        ("loss_entropy", view(), "at least 2 parts of a probe, got none"),
        ("loss_entropy", view(epochs=[1.0]), "at least 2 parts of a probe, got 1"),
        ("loss_entropy_examples", view(), "loss of each example"),
        ("loss_entropy_examples", view(each=[]), "loss of each example"),
        ("label_entropy", view([]), "needs labels"),
        ("gini_simpson", view([]), "needs labels"),
        ("label_count", view([]), "needs labels"),
    ],
)
def test_missing_data_is_named(name, of, said):
    with pytest.raises(DataError, match=said):
        one(name, of)


@pytest.mark.parametrize(
    ("field", "value"), [("examples", -1.0), ("label_counts", [1, np.nan]), ("epochs", [np.inf])]
)
def test_view_refuses_impossible_numbers(field, value):
    with pytest.raises(DataError, match="finite numbers >= 0"):
        view(**{field: value})


def test_view_refuses_two_dimensions():
    with pytest.raises(ShapeError, match="label_counts: expected one dimension"):
        view([[1, 2]])


def test_probe_is_needed_for_losses_only():
    assert not needs_probe(["label_entropy", "gini_simpson", "label_count", "sample_count"])
    assert needs_probe(["label_entropy", "loss_entropy"])
    assert needs_probe(["loss_entropy_examples"])


def test_own_criterion_says_itself_whether_it_needs_a_probe():
    assert needs_probe([f"{__name__}:own_with_losses"])
    assert not needs_probe([f"{__name__}:own_nan"])
    assert one(f"{__name__}:own_with_losses", view(epochs=[1, 2])) == 3


def test_own_criterion_that_gives_nan_is_refused():
    with pytest.raises(DataError, match="own_nan': expected a finite number, got nan"):
        one(f"{__name__}:own_nan", view())


def test_unknown_criterion():
    with pytest.raises(UnknownNameError, match="did you mean 'label_entropy'"):
        measure(["label_entropi"], view())


@pytest.mark.parametrize("name", list(CRITERIA))
def test_every_criterion_is_a_float(name):
    of = view([3, 2], 5, epochs=[2, 1], each=[1, 2, 3])
    of = replace(of, token_losses=np.array([1.0, 2.0]), token_counts=np.array([0.0, 2.0, 1.0]))
    assert type(one(name, of)) is float


def test_noise_has_mean_zero_and_scale_one_over_epsilon():
    """Laplace of scale b: mean 0, mean absolute deviation b, variance 2 b^2.

    200,000 draws far from the clip: the mean's standard error is b sqrt(2 / 200,000) =
    0.0032 b, that of the mean absolute deviation 0.0022 b; allowed are 5 of each.
    """
    noise = noisy_counts(np.full(200_000, 1e6), 0.5, np.random.default_rng(0)) - 1e6
    assert abs(noise.mean()) < 5 * 0.0032 * 2
    assert abs(np.abs(noise).mean() - 2) < 5 * 0.0022 * 2


def test_noisy_counts_are_never_negative_and_input_is_kept():
    given = np.zeros(1000)
    noisy = noisy_counts(given, 0.1, np.random.default_rng(0))
    assert (noisy >= 0).all()
    assert noisy.any()
    assert not given.any()


def test_noisy_view_takes_examples_from_the_noisy_counts_and_shows_nothing_else():
    clean = view([30, 0, 5], 35, epochs=[2, 1], each=[1, 2])
    clean = replace(clean, token_losses=np.array([1.0]), token_counts=np.array([2.0]))
    noisy = noisy_view(clean, 1.0, np.random.default_rng(0))
    assert noisy.examples == noisy.label_counts.sum() != 35
    others = (noisy.epoch_losses, noisy.example_losses, noisy.token_losses, noisy.token_counts)
    assert others == (None, None, None, None)


def test_every_criterion_gets_the_noise_or_is_told_as_one_that_does_not():
    """On a view with nothing but noisy counts a criterion answers, or it is marked."""
    noisy = noisy_view(view([30, 5], 35, epochs=[2, 1]), 1.0, np.random.default_rng(0))
    for name in CRITERIA.own:
        if without_noise([name]):
            with pytest.raises(DataError):
                one(name, noisy)
        else:
            assert one(name, noisy) >= 0


def test_noisy_view_without_labels_noises_the_number_of_examples():
    noisy = noisy_view(view([], 35), 1.0, np.random.default_rng(0))
    assert noisy.examples != 35
    assert abs(noisy.examples - 35) < 20  # beyond with probability e^-20


@pytest.mark.parametrize("epsilon", [0, -1, np.nan, np.inf])
def test_impossible_epsilon(epsilon):
    with pytest.raises(SettingsError, match="epsilon"):
        noisy_counts(np.ones(2), epsilon, np.random.default_rng(0))


@pytest.mark.parametrize("package", ["mcda", "criteria", "allocators", "planning"])
def test_imports_without_torch(package):
    code = f"import sys, polyrank.{package}; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
