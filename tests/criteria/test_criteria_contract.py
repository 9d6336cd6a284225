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
    reads_losses,
)
from polyrank.errors import DataError, UnknownNameError

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


@pytest.mark.parametrize("package", ["mcda", "criteria", "allocators", "planning"])
def test_imports_without_torch(package):
    code = f"import sys, polyrank.{package}; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
