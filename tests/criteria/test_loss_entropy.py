"""Entropy of the losses of a probe."""

import numpy as np
import pytest

from polyrank.criteria import (
    ClientView,
    measure,
)


def view(label_counts=(1.0, 1.0), examples=2.0, epochs=None, each=None):
    arrays = [None if given is None else np.array(given, float) for given in (epochs, each)]
    return ClientView(np.array(label_counts, float), examples, *arrays)


def one(name, of):
    return measure([name], of)[name]


def test_loss_entropy_by_hand():
    """Losses 3, 1: q = 3/4, 1/4; H = -(3/4 ln 3/4 + 1/4 ln 1/4) / ln 2 = 2 - 3/4 log2 3."""
    expected = 2 - 0.75 * np.log2(3)
    assert one("loss_entropy", view(epochs=[3, 1])) == pytest.approx(expected)
    assert one("loss_entropy_examples", view(each=[1, 3])) == pytest.approx(expected)


def test_loss_that_falls_faster_is_easier_data():
    fast, slow = view(epochs=[2, 0.5, 0.1]), view(epochs=[2, 1.9, 1.8])
    assert one("loss_entropy", fast) < one("loss_entropy", slow)
