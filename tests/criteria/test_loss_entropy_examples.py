"""Entropy of the losses of examples."""

import numpy as np

from polyrank.criteria import (
    ClientView,
    measure,
)


def view(label_counts=(1.0, 1.0), examples=2.0, epochs=None, each=None):
    arrays = [None if given is None else np.array(given, float) for given in (epochs, each)]
    return ClientView(np.array(label_counts, float), examples, *arrays)


def one(name, of):
    return measure([name], of)[name]


def test_single_example_has_no_spread():
    assert one("loss_entropy_examples", view(each=[3.0])) == 0
